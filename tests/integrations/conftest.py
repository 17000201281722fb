from __future__ import annotations

import sys
from pathlib import Path

# Importlib mode leaves the tests' directories out of the path; these hold what the tests share.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))
