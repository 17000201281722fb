from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from kubernetes_double import KubernetesDouble


@pytest.fixture
def kubernetes() -> Iterator[KubernetesDouble]:
    with KubernetesDouble() as server:
        yield server
