"""Functions of storage in processes of their own, to be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from fault_proxy import Fault

WORKERS, PART_MIB = 2, 5
SLOW_MIB_PER_SECOND = 30.0
DEADLINE_SECONDS = 60.0

Call = tuple[str, *tuple[object, ...]]

CHILD = r"""
import json, sys
from shipway.components.common import storage
name, arguments, options = json.loads(sys.argv[1])
def tell(done, total):
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()
result = getattr(storage, name)(*arguments, options=storage.Options(**options, progress=tell))
print("moved", getattr(result, "transfer", result).moved_bytes, flush=True)
"""


class Run:
    """One call of a function of storage, in a process of its own."""

    def __init__(self, name: str, *arguments: object, slow: bool = False) -> None:
        limit = SLOW_MIB_PER_SECOND if slow else 0.0
        options = {"workers": WORKERS, "part_mib": PART_MIB, "limit_mib_per_second": limit}
        call = json.dumps([name, [str(argument) for argument in arguments], options])
        command = [sys.executable, "-c", CHILD, call]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.done = 0

    def kill_at(self, share: float) -> None:
        """Kills it as soon as it says that so much is done."""
        assert self.process.stdout
        for line in self.process.stdout:
            assert not line.startswith("moved"), "it ended before it was killed"
            self.done, total = map(int, line.split())
            if self.done >= share * total:
                break
        self.kill()

    def kill_when(self, fault: Fault) -> None:
        """Kills it when a fault holds it up."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not fault.hits and time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        _, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        assert self.process.returncode == -9, errors

    def moved(self) -> int:
        """Waits for its good end; returns the bytes that it moved."""
        output, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        assert self.process.returncode == 0, errors
        return int(output.split()[-1])
