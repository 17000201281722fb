"""Signals ask a training to stop, and it saves first."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from shipway.components.common.errors import InputError, Preempted
from shipway.components.common.training.checkpoints import Checkpoints
from shipway.components.common.training.interruption import interruptions

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def received():
    """The signals that came to whoever handled them before."""
    numbers = []
    before = {number: signal.signal(number, lambda came, _: numbers.append(came)) for number in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request_that_preempted_answers(number, received):
    def training():
        with interruptions() as stop:
            assert not stop.requested
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert stop.requested
            raise stop.preempted("step 1200 is saved in s3://runs/flights")

    with pytest.raises(Preempted) as stopped:
        training()
    assert str(stopped.value) == (
        f"stopped by {number.name}: step 1200 is saved in s3://runs/flights; run again to resume"
    )
    assert received == []
    os.kill(os.getpid(), number)
    assert received == [number]


def test_a_process_of_several_stops_for_another_ones_signal():
    with interruptions() as stop:
        assert str(stop.preempted("nothing is saved")) == "stopped: nothing is saved; run again to resume"


def test_a_signal_without_an_answer_goes_to_whoever_handled_it_before(received):
    with interruptions() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == []
    assert stop.requested
    assert received == [signal.SIGTERM]


def diverging():
    with interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
        raise InputError("training diverged")


def test_an_error_is_not_hidden_by_a_signal(received):
    with pytest.raises(InputError, match="diverged"):
        diverging()
    assert received == []


def test_a_block_within_another_is_given_the_same(received):
    found = []

    def trial():
        with interruptions() as inner:
            found.append(inner)

    with interruptions() as stop:
        with pytest.raises(InputError):
            diverging()
        trial()
        thread = threading.Thread(target=trial)
        thread.start()
        thread.join()
        assert received == []
        assert stop.requested
    assert found == [stop, stop]
    assert received == [signal.SIGTERM]


def test_in_another_thread_nothing_ever_comes(received):
    found = []

    def training():
        with interruptions() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            found.append(stop.requested)

    thread = threading.Thread(target=training)
    thread.start()
    thread.join()
    assert found == [False]
    assert received == [signal.SIGTERM]


def test_a_child_can_still_be_ended():
    with interruptions() as stop:
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        assert not stop.requested


TRAINING = """
import sys
from shipway.components.common.process import step
from shipway.components.common.training.checkpoints import Checkpoints
from shipway.components.common.training.interruption import interruptions

def write(directory):
    (directory / "state").write_bytes(bytes([done]) * (32 << 20))

with step(), interruptions() as stop:
    checkpoints = Checkpoints(sys.argv[1], {})
    found = checkpoints.latest(lambda directory: (directory / "state").read_bytes()[-1])
    done = found[1] if found else 0
    print("begins", done, flush=True)
    while not stop.requested:
        done += 1
        checkpoints.save(done, write)
        print("saving", done, flush=True)
        sys.stdin.read(1)
    done += 1
    checkpoints.save(done, write, wait=True)
    raise stop.preempted(f"step {done} is saved in {checkpoints.last_uri}")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_stopped_while_it_saves_it_saves_once_more_and_goes_on_from_there(number, tmp_path):
    command = [sys.executable, "-c", TRAINING, str(tmp_path / "here")]
    begins = 0
    for _ in range(3):
        training = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert training.stdout.readline() == f"begins {begins}\n"
        saving = int(training.stdout.readline().removeprefix("saving "))
        training.send_signal(number)
        _, errors = training.communicate("go on", timeout=60)
        assert training.returncode == Preempted.exit_code
        last = errors.splitlines()[-1]
        assert last.startswith(f"Preempted: stopped by {number.name}: step {saving + 1} is saved in file:///")
        assert Checkpoints(str(tmp_path / "here"), {}).latest(lambda at: (at / "state").stat().st_size) == (
            saving + 1,
            32 << 20,
        )
        begins = saving + 1
