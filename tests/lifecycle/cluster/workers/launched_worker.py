"""A worker for the launcher's tests, of the standard library alone: what it does, its environment says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from shipway.components.common.errors import InputError, Preempted
from shipway.components.common.process import ERROR_FILE_VARIABLE, step
from shipway.components.common.training.interruption import interruptions

rank = int(os.environ["RANK"])
places = Path(os.environ["WORKER_PLACES"])
does = os.environ["WORKER_DOES"].split()


def train() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    known = {name: os.environ.get(name) for name in ("TF_CONFIG", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    print(f"training {request['model_name']}")
    (places / f"started-{rank}").write_text(json.dumps({**known, "pid": os.getpid()}))
    what = does[rank % len(does)]
    if what == "refuses":
        raise InputError("label has one class")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "breaks":
        raise ZeroDivisionError("a bug")
    if what == "yields":
        while len(list(places.glob("started-*"))) < len(does):
            time.sleep(0.02)
        raise Preempted("step 7 is saved")
    if what == "waits":
        with interruptions() as stop:
            while not stop.requested:
                time.sleep(0.02)
            (places / f"saved-{rank}").touch()
            raise stop.preempted("step 12 is saved")
    if what == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    (places / f"done-{rank}").touch()


if "LOCAL_RANK" in os.environ:
    os.environ[ERROR_FILE_VARIABLE] += f".{os.environ['LOCAL_RANK']}"
with step():
    train()
