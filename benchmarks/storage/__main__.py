"""Measures transfers side by side: ``make bench-storage``, or ``python -m benchmarks.storage [--quick]``.

Prints tables and writes ``build/bench/storage.json``: a list of ``{"claim", "ours", "reference", "ratio", "goal",
"met", "unit", "samples"}``. Ends well whether the goals are met or not: it tells how it is.

Servers and clients share this machine. Files are written to memory, where there is a directory of it, as a disk would
only measure itself; the same downloads to the disk, which ours makes durable, are listed besides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import requests
from servers import ACCESS_KEY, SECRET_KEY, Server, fake_gcs, seaweedfs

from benchmarks.measure import Measurement, measured
from benchmarks.storage.cases import LATENCY_SECONDS, MANY, MANY_BYTES, Case, cases
from benchmarks.storage.claims import claims
from benchmarks.storage.safety import safety_claims

ROOT = Path(__file__).parents[2]
BENCH = Path("build/bench")
MEMORY = Path("/dev/shm")  # noqa: S108
LARGE_BYTES = 1 << 30
REPETITIONS = 5


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures transfers beside the stores' own clients.")
    parser.add_argument("--quick", action="store_true", help="once each, with 128 MiB instead of 1 GiB")
    quick = parser.parse_args().quick
    large_bytes, repetitions = (LARGE_BYTES >> 3, 1) if quick else (LARGE_BYTES, REPETITIONS)
    memory = MEMORY if MEMORY.is_dir() else None
    with contextlib.ExitStack() as stack:
        fast = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory, prefix="shipway-bench-")))
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BENCH.absolute())))
        s3, gs = stack.enter_context(seaweedfs()), stack.enter_context(fake_gcs())
        places = Places(s3, gs, stack, fast, large_bytes)
        found = cases(places.uris, fast, disk)
        samples = _measured(found, repetitions, places)
        print(_table(found, samples))
        listed = claims(samples, large_bytes)
        listed += safety_claims(s3.url, places.uris["s3"], fast, places.command)
    for claim in listed:
        verdict = {True: "met", False: "NOT MET", None: "no goal"}[claim["met"]]
        print(f"{claim['claim']}: {claim['ratio']:.2f} ({claim['goal'] or 'no goal'}): {verdict}")
    file = BENCH / "storage.json"
    file.write_text(json.dumps(listed, indent=1))
    print(f"written to {file}")


class Places:
    """The servers, filled, with their URIs by name and the environment that leads to them."""

    def __init__(self, s3: Server, gs: Server, stack: contextlib.ExitStack, fast: Path, large_bytes: int) -> None:
        buckets = {"s3": s3.new_bucket(), "gs": gs.new_bucket()}
        large = fast / "large"
        with large.open("wb") as file:
            for _ in range(large_bytes >> 20):
                file.write(os.urandom(1 << 20))
        many = fast / "many"
        many.mkdir()
        for number in range(MANY):
            (many / f"{number:04}").write_bytes(os.urandom(MANY_BYTES))
        latency = [sys.executable, ROOT / "tests/storage/fault_proxy.py", *s3.url.removeprefix("http://").split(":")]
        latency += ["--round-trip-seconds", str(LATENCY_SECONDS)]
        sink = _address(stack, [sys.executable, "-m", "benchmarks.storage.sink"])
        null = _address(stack, [sys.executable, ROOT / "tests/storage/gcs_stub.py", "--null"])
        self.endpoints = {"s3": s3.url, "gs": gs.url, "far": _address(stack, latency), "sink": sink, "null": null}
        self.uris = {
            "s3": f"s3://{buckets['s3']}",
            "gs": f"gs://{buckets['gs']}",
            "sink": "s3://sink",
            "null": "gs://null",
        }
        for scheme in ("s3", "gs"):
            self._fill(scheme, f"shipway_upload {self.uris[scheme]}/large {large}")
        requests.post(f"{null}/storage/v1/b", json={"name": "null"}, timeout=10).raise_for_status()
        self._fill("s3", f"boto3_upload {self.uris['s3']}/large-by-boto3 {large}")
        self._fill("s3", f"shipway_upload {self.uris['s3']}/many {many}")

    @staticmethod
    def command(case: Case, endpoint: str) -> list[str]:
        """Returns what runs a case at an address."""
        variables = {
            "AWS_ENDPOINT_URL": endpoint,
            "STORAGE_EMULATOR_HOST": endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "SHIPWAY_STATE_DIR": str(BENCH.absolute() / "state"),
        }
        given = [f"{name}={value}" for name, value in variables.items()]
        arguments = (case.contender, case.uri, str(case.path), str(case.workers))
        return ["env", *given, sys.executable, "-m", "benchmarks.storage.contenders", *arguments]

    def _fill(self, endpoint: str, arguments: str) -> None:
        contender, uri, path = arguments.split()
        run(Case("", contender, endpoint, uri, Path(path), 8), self)


def run(case: Case, places: Places) -> Measurement:
    """Runs one case."""
    command = places.command(case, places.endpoints[case.endpoint])
    return measured(command, BENCH / "logs" / f"storage-{case.contender}.log")


def _address(stack: contextlib.ExitStack, command: list[str | Path]) -> str:
    """Starts a server that says its port or URL; it ends with the stack."""
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stack.callback(process.kill)
    said = process.stdout.readline().strip() if process.stdout else ""
    return said if said.startswith("http") else f"http://127.0.0.1:{said}"


def _measured(found: list[Case], repetitions: int, places: Places) -> dict[str, list[Measurement]]:
    """Every case in turn, and then again, so that what disturbs the machine disturbs all alike."""
    samples: dict[str, list[Measurement]] = {case.name: [] for case in found}
    for turn in range(repetitions):
        for case in found:
            with _fresh(case) as fresh:
                measurement = run(fresh, places)
            samples[case.name].append(measurement)
            print(f"{turn + 1}/{repetitions} {case.name}: {measurement.said['transfer']:.2f} s", flush=True)
    return samples


@contextlib.contextmanager
def _fresh(case: Case) -> Iterator[Case]:
    """Yields the case with a name of its own for what it writes, which is removed afterwards."""
    fresh = case.with_fresh_target(uuid.uuid4().hex[:12])
    try:
        yield fresh
    finally:
        if fresh.writes_files:
            shutil.rmtree(fresh.path, ignore_errors=True)
            if fresh.path.is_file():
                fresh.path.unlink()


def _table(found: list[Case], samples: dict[str, list[Measurement]]) -> str:
    lines = ["| what | runs | transfer s (least to most) | whole s | CPU s | peak MiB |", "|---|--:|--:|--:|--:|--:|"]
    for case in found:
        runs = samples[case.name]
        seconds = [run.said["transfer"] for run in runs]
        lines.append(
            f"| {case.name} | {len(runs)} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
            f" | {statistics.median(run.seconds for run in runs):.2f}"
            f" | {statistics.median(run.cpu_seconds for run in runs):.2f}"
            f" | {statistics.median(run.peak_mib for run in runs):,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
