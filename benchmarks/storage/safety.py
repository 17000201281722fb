"""What must hold however slow the machine is: what publishing again sends, what a kill costs, what faults do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_proxy import FaultProxy

from benchmarks.storage.cases import Case
from benchmarks.storage.claims import PART_MIB, WORKERS, Claim

__all__ = ["safety_claims"]

_ROOT = Path(__file__).parents[2]
_MIB = 1 << 20
_BYTES = 256 * _MIB
_BYTES_PER_SECOND = 64 * _MIB
_TOOLS = "import sys; sys.path.insert(0, 'tests'); import run; print(run.tools())"


def safety_claims(s3_url: str, bucket: str, scratch: Path, command: Callable[[Case, str], list[str]]) -> list[Claim]:
    """Returns the claims.

    Args:
        s3_url: The address of an S3 server.
        bucket: The URI of a bucket there.
        scratch: A directory to write to.
        command: Returns what runs a case at an address.
    """
    host, _, port = s3_url.removeprefix("http://").partition(":")
    file = scratch / "to-be-killed"
    file.write_bytes(os.urandom(_BYTES))
    with FaultProxy(host, int(port)) as proxy:

        def start(contender: str, uri: str, path: Path) -> subprocess.Popen[bytes]:
            parts = command(Case("", contender, "", uri, path, WORKERS), proxy.url)
            return subprocess.Popen(parts, stdout=subprocess.DEVNULL)

        return [
            _published_again(proxy, lambda: start("shipway_publish", f"{bucket}/version", scratch / "many")),
            _killed("upload", proxy, lambda: start("shipway_upload", f"{bucket}/killed", file)),
            _killed("download", proxy, lambda: start("shipway_download", f"{bucket}/killed", scratch / "killed")),
            _faults(),
        ]


def _published_again(proxy: FaultProxy, start: Callable[[], subprocess.Popen[bytes]]) -> Claim:
    sent = []
    for _ in range(2):
        proxy.plan()
        _require_success(start())
        sent.append(proxy.request_bytes)
    return _claim("publishing what is published: bytes sent", sent[1], sent[0], 0, "bytes")


def _killed(what: str, proxy: FaultProxy, start: Callable[[], subprocess.Popen[bytes]]) -> Claim:
    """Kills a transfer in its middle, lets another process end it, and counts what went over the wire twice."""
    proxy.plan()
    proxy.bytes_per_second = _BYTES_PER_SECOND
    process = start()
    while _passed(proxy) < _BYTES // 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    proxy.bytes_per_second = 0
    _require_success(start())
    again = _passed(proxy) - _BYTES
    return _claim(f"{what} of {_BYTES // _MIB} MiB, killed: MiB moved twice, of workers x part",
                  again / _MIB, WORKERS * PART_MIB, 1, "MiB")  # fmt: skip


def _passed(proxy: FaultProxy) -> int:
    return proxy.request_bytes + proxy.response_bytes


def _require_success(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise RuntimeError(f"{process.args!r} failed")


def _faults() -> Claim:
    """Runs the tests that inject faults, and reads what they count."""
    found = subprocess.run(
        [_ROOT / ".venv/bin/python", "-c", _TOOLS], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    paths = os.pathsep.join([found.stdout.strip(), os.environ.get("PYTHONPATH", "")])
    tests = [sys.executable, "-m", "pytest", "-q", "-s", str(_ROOT / "tests/storage/test_faults.py")]
    said = subprocess.run(tests, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    print(said.stdout)
    counted = re.search(r"(\d+) faults healed or raised", said.stdout)
    injected = int(counted[1]) if counted else 0
    silent = said.stdout.count("silent corruption")
    claim = _claim("faults injected: silent corruptions among them", silent, injected, 0, "faults")
    return {**claim, "met": claim["met"] and injected >= 200 and not said.returncode}


def _claim(claim: str, ours: float, reference: float, goal: float, unit: str) -> Claim:
    ratio = ours / reference if reference else 0.0
    found: dict[str, Any] = {"claim": claim, "ours": ours, "reference": reference, "ratio": ratio}
    return {**found, "goal": f"at most {goal}", "met": ratio <= goal, "unit": unit, "samples": {"ours": [ours]}}
