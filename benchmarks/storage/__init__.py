"""Transfers side by side with the stores' own clients."""

import sys
from pathlib import Path

# The servers and the proxy are the tests'.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "storage"))
