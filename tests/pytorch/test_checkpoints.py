"""Checkpoints in directories and on a real S3 server: found again after kills and damage, and never another's."""

import contextlib
import fcntl
import json
import logging
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "storage"))

import servers
from witness import use_profiles

from shipway.components.common.errors import (
    AccessDenied,
    CapabilityMissing,
    InputError,
    ObjectNotFound,
    Preempted,
    StorageError,
)
from shipway.components.common.storage import open_store
from shipway.components.common.training.checkpoints import Checkpoints, checkpoint_directory

IDENTITY = {"framework": "pytorch", "learning_rate": 0.1, "hidden_units": (128, 64), "data": "sha256:1f"}
WAIT_SECONDS = 60


def write(data):
    """Writes a checkpoint of two files."""

    def written(directory):
        (directory / "1-state").write_bytes(data)  # listed before a manifest
        (directory / "more").mkdir()
        (directory / "more" / "rest").write_bytes(data[::-1])

    return written


def read(directory):
    data = (directory / "1-state").read_bytes()
    if (directory / "more" / "rest").read_bytes() != data[::-1]:
        raise EOFError("the files are of two checkpoints")
    return data


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Directories of their own for temporary files and for the state."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "temporary"


@pytest.fixture(scope="session")
def s3():
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("TMPDIR", raising=False)  # the test's that asks for it first
            patch.setattr(tempfile, "tempdir", None)
            server = stack.enter_context(servers.seaweedfs())
        yield server, server.new_bucket()


@pytest.fixture
def s3_uri(s3, tmp_path, monkeypatch):
    server, bucket = s3
    use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(server, "s3://", server.url)], stall_seconds=10)
    return f"s3://{bucket}/{uuid.uuid4().hex}/pytorch-flowers"


@pytest.fixture(params=["path", "file", "s3"])
def uri(request, tmp_path):
    """A place for checkpoints in every kind of store in turn."""
    if request.param == "s3":
        return request.getfixturevalue("s3_uri")
    return str(tmp_path / "my checkpoints") if request.param == "path" else f"file://{tmp_path}/some%20checkpoints"


@pytest.fixture(params=["pvc", "gs"])
def rarer_uri(request, tmp_path, monkeypatch):
    """A place for checkpoints in the other stores that can be written to."""
    if request.param == "pvc":
        monkeypatch.setenv("SHIPWAY_PVC_ROOT", str(tmp_path))
        (tmp_path / "claim").mkdir()
        yield "pvc://claim/checkpoints"
    else:
        with servers.gcs_stub() as server:
            use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(server, "gs://", server.url)], stall_seconds=10)
            yield f"gs://{server.new_bucket()}/pytorch-flowers"


def objects(uri):
    """Names and bytes of all that lies there."""
    store, key = open_store(uri)
    return {info.key.removeprefix(f"{key}/"): store.get_bytes(info.key)[0] for info in store.list(key)}


def complete(uri):
    """The steps whose manifest is there, in the order that they were saved in."""
    found = [name.split("/")[0] for name in objects(uri) if name.endswith("/MANIFEST.json")]
    return [int(name[5:17]) for name in sorted(found, key=lambda name: name[18:])]


def put(uri, name, data):
    """Replaces an object, or with None deletes it."""
    store, key = open_store(uri)
    (found,) = [info.key for info in store.list(key) if info.key.endswith(f"{name}")]
    store.delete(found) if data is None else store.put_bytes(found, data)


def saved(uri, *steps, identity=IDENTITY, kept=2):
    checkpoints = Checkpoints(uri, identity, kept)
    for step in steps:
        checkpoints.save(step, write(b"state %d" % step), wait=True)
    return checkpoints


def test_the_newest_is_found_by_the_next_process_and_older_ones_go(uri, temporary):
    checkpoints = Checkpoints(uri, IDENTITY)
    assert checkpoints.latest(read) is None
    assert (checkpoints.last_uri, objects(uri)) == ("", {})
    for step in (3, 20, 100):
        checkpoints.save(step, write(b"state %d" % step))
    assert Checkpoints(f"{uri}/", IDENTITY).latest(lambda directory: None)[0] in (20, 100)
    checkpoints.save(2000, write(b"state 2000"), wait=True)
    assert complete(uri) == [100, 2000]
    following = Checkpoints(uri, IDENTITY)
    assert following.latest(read) == (2000, b"state 2000")
    assert following.last_uri == checkpoints.last_uri
    assert "step-000000002000-" in following.last_uri
    assert os.listdir(temporary) == []
    following.clear()
    assert objects(uri) == {}
    assert Checkpoints(uri, IDENTITY).latest(read) is None


def test_the_other_stores_keep_checkpoints_too(rarer_uri, caplog):
    put(rarer_uri, f"{saved(rarer_uri, 1, 2, 3).last_uri.rpartition('/')[2]}/1-state", b"stat")
    following = Checkpoints(rarer_uri, IDENTITY)
    assert following.latest(read) == (2, b"state 2")
    assert "is damaged" in caplog.text
    following.clear()
    assert objects(rarer_uri) == {}


def test_a_directory_is_gone_when_its_checkpoints_are(tmp_path):
    checkpoints = saved(str(tmp_path / "here"), *range(5), kept=1)
    assert len(os.listdir(tmp_path / "here")) == 1
    checkpoints.clear()
    assert not (tmp_path / "here").exists()


def test_of_two_saves_of_a_step_the_later_counts(uri):
    checkpoints = Checkpoints(uri, IDENTITY)
    checkpoints.save(7, write(b"before judging"))
    checkpoints.save(7, write(b"after judging"), wait=True)
    assert Checkpoints(uri, IDENTITY).latest(read) == (7, b"after judging")
    assert complete(uri) == [7, 7]


def test_a_save_goes_on_in_the_background_and_the_next_waits_for_it(tmp_path):
    uri = str(tmp_path / "here")
    checkpoints = saved(uri, 1, kept=1)
    (first,) = (tmp_path / "here").iterdir()
    with (first / ".shipway.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nothing can be deleted there now
        checkpoints.save(2, write(b"state 2"))
        until = time.monotonic() + WAIT_SECONDS
        while complete(uri) != [1, 2]:
            assert time.monotonic() < until
        written = []
        following = threading.Thread(target=checkpoints.save, args=(3, lambda at: (written.append(3), write(b"3")(at))))
        following.start()
        time.sleep(0.2)
        assert following.is_alive()
        assert not written
    following.join(WAIT_SECONDS)
    checkpoints.save(4, write(b"state 4"), wait=True)
    assert (written, complete(uri)) == ([3], [4])


ENDING = """
import logging, sys
from shipway.components.common.training.checkpoints import Checkpoints
logging.basicConfig()
checkpoints = Checkpoints(sys.argv[1], {})
for step in range(int(sys.argv[2])):
    checkpoints.save(step, lambda directory: (directory / "state").write_bytes(bytes(40 << 20)))
if len(sys.argv) == 4:
    checkpoints.wait()
raise SystemExit("an error")
"""


def test_a_process_that_ends_with_an_error_may_wait_for_a_save(tmp_path):
    command = [sys.executable, "-c", ENDING, str(tmp_path / "here")]
    hasty = subprocess.run([*command, "2"], capture_output=True, check=False, text=True)
    assert complete(str(tmp_path / "here")) in ([0], [0, 1])
    assert "Traceback" not in hasty.stderr
    assert ("step 1 was not saved" in hasty.stderr) == (complete(str(tmp_path / "here")) == [0])
    subprocess.run([*command, "6", "wait"], capture_output=True, check=False)
    assert Checkpoints(str(tmp_path / "here"), {}).latest(lambda at: (at / "state").stat().st_size) == (5, 40 << 20)


def test_a_failed_save_is_one_warning_and_the_next_one_the_next_try(tmp_path, caplog):
    uri = tmp_path / "here"
    checkpoints = saved(str(uri), 1)
    uri.rename(tmp_path / "away")
    uri.write_text("in the way")
    checkpoints.save(2, write(b"state 2"))
    with pytest.raises(StorageError, match="a file is where"):
        checkpoints.save(3, write(b"state 3"), wait=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "step 2 was not saved" in caplog.text
    uri.unlink()
    (tmp_path / "away").rename(uri)
    assert "step-000000000001" in checkpoints.last_uri
    checkpoints.save(4, write(b"state 4"))
    checkpoints.save(5, write(b"state 5"), wait=True)
    assert complete(str(uri)) == [4, 5]
    assert len(caplog.records) == 1


@contextlib.contextmanager
def small_files(size):
    """No file of this process can grow beyond ``size``, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_cannot_be_written_costs_no_training(tmp_path, temporary, caplog):
    checkpoints = saved(str(tmp_path / "here"), 1)
    with small_files(1000):
        checkpoints.save(2, write(bytes(5000)))
        with pytest.raises(StorageError, match=r"OSError.*File too large.*TMPDIR"):
            checkpoints.save(2, write(bytes(5000)), wait=True)
    assert "step 2 was not saved" in caplog.text
    assert os.listdir(temporary) == []
    assert Checkpoints(str(tmp_path / "here"), IDENTITY).latest(read) == (1, b"state 1")


def test_what_stops_the_process_stops_a_save_too(tmp_path):
    def stopped(directory):
        raise Preempted("stopped by SIGTERM")

    checkpoints = saved(str(tmp_path / "here"), 1)
    with pytest.raises(Preempted):
        checkpoints.save(2, stopped)
    with pytest.raises(Preempted):
        checkpoints.latest(stopped)
    assert checkpoints.latest(read) == (1, b"state 1")


DAMAGES = {
    "truncated": lambda uri, last: put(uri, f"{last}/1-state", b"stat"),
    "a flipped bit": lambda uri, last: put(uri, f"{last}/1-state", b"state 3"),
    "empty": lambda uri, last: put(uri, f"{last}/more/rest", b""),
    "a file less": lambda uri, last: put(uri, f"{last}/more/rest", None),
    "no manifest's JSON": lambda uri, last: put(uri, f"{last}/MANIFEST.json", b'{"digest": "sha'),
    "an empty manifest": lambda uri, last: put(uri, f"{last}/MANIFEST.json", b""),
    "another document": lambda uri, last: put(uri, f"{last}/MANIFEST.json", b'{"name": "state"}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_for_the_one_before(uri, damage, caplog):
    checkpoints = saved(uri, 1, 2)
    last = checkpoints.last_uri.rpartition("/")[2]
    DAMAGES[damage](uri, last)
    following = Checkpoints(uri, IDENTITY)
    assert following.latest(read) == (1, b"state 1")
    (warning,) = [record.message for record in caplog.records if record.name.endswith("checkpoints")]
    assert warning.startswith(f"the checkpoint {checkpoints.last_uri} is damaged: ")
    assert warning.endswith(f"; going back to the one before, {following.last_uri}")
    # It does not count as one of the two that stay.
    following.save(3, write(b"state 3"), wait=True)
    assert complete(uri)[::2] == [1, 3]
    following.save(4, write(b"state 4"), wait=True)
    assert complete(uri) == [3, 4]


def test_one_that_cannot_be_read_is_passed_over(uri, caplog):
    def picky(directory):
        if read(directory) == b"state 2":
            raise RuntimeError("PytorchStreamReader failed reading zip archive")
        return read(directory)

    checkpoints = saved(uri, 1, 2)
    assert checkpoints.latest(picky) == (1, b"state 1")
    assert "RuntimeError: PytorchStreamReader failed" in caplog.text
    with pytest.raises(MemoryError):
        checkpoints.latest(lambda directory: bytes(1 << 60))


def test_one_without_a_manifest_was_never_finished(uri, caplog):
    put(uri, f"{saved(uri, 1, 2).last_uri.rpartition('/')[2]}/MANIFEST.json", None)
    following = Checkpoints(uri, IDENTITY)
    assert following.latest(read) == (1, b"state 1")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    following.save(2, write(b"once more"), wait=True)
    assert Checkpoints(uri, IDENTITY).latest(read) == (2, b"once more")
    following.clear()
    assert objects(uri) == {}


def test_when_all_are_damaged_training_starts_anew_and_they_stay_for_a_while(tmp_path, caplog):
    uri = str(tmp_path / "here")
    saved(uri, 10, 20)
    for name in objects(uri):
        if name.endswith("1-state"):
            put(uri, name, b"?")
    checkpoints = Checkpoints(uri, IDENTITY)
    assert checkpoints.latest(read) is None
    assert [word for word in ("going back", "there is none before it", "STARTS ANEW") if word not in caplog.text] == []
    checkpoints.save(1, write(b"state 1"), wait=True)
    assert complete(uri) == [10, 20, 1]
    assert Checkpoints(uri, IDENTITY).latest(read) == (1, b"state 1")
    checkpoints.save(2, write(b"state 2"), wait=True)
    assert complete(uri) == [1, 2]


def test_any_flipped_bit_of_a_manifest_costs_one_interval_at_most(tmp_path):
    uri = tmp_path / "here"
    checkpoints = saved(str(uri), 1, 2)
    manifest = Path(checkpoints.last_uri.removeprefix("file://")) / "MANIFEST.json"
    data, rng = manifest.read_bytes(), random.Random(1)
    for position in range(len(data)):
        manifest.write_bytes(data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :])
        assert Checkpoints(str(uri), IDENTITY).latest(read) == (1, b"state 1")


def test_another_training_is_told_what_differs(uri):
    saved(uri, 1)
    other = {**IDENTITY, "learning_rate": 0.2, "hidden_units": [128], "seed": 3}
    with pytest.raises(InputError) as failure:
        Checkpoints(uri, other).latest(read)
    message = str(failure.value)
    assert "learning_rate is 0.1 there and 0.2 here" in message
    assert "hidden_units is [128, 64] there and [128] here" in message
    assert "seed is not set there and 3 here" in message
    assert "framework" not in message
    assert "another checkpoint_uri" in message
    assert uri in message


def test_two_trainings_that_began_in_one_place_keep_to_their_own(uri, caplog):
    other = {**IDENTITY, "data": "sha256:2e"}
    first, second = Checkpoints(uri, IDENTITY), Checkpoints(uri, other)
    assert first.latest(read) is second.latest(read) is None
    for step in range(5):
        first.save(step, write(b"first %d" % step), wait=True)
        second.save(step, write(b"second %d" % step), wait=True)
    assert Checkpoints(uri, IDENTITY).latest(read) == (4, b"first 4")
    assert "is another training's and left alone" in caplog.text
    for step in (5, 6):
        first.save(step, write(b"first %d" % step), wait=True)
    assert complete(uri) == [3, 4, 5, 6]
    first.clear()
    assert complete(uri) == [3, 4]
    assert Checkpoints(uri, other).latest(read) == (4, b"second 4")


def test_an_identity_is_compared_as_json_holds_it(tmp_path):
    uri = str(tmp_path / "here")
    identity = {"rate": 0.1 + 0.2, "tiny": 5e-324, "units": (1, 2.5), "on": True, "none": None, "names": {"ä": [1]}}
    saved(uri, 1, identity=identity)
    assert Checkpoints(uri, json.loads(json.dumps(identity))).latest(read) == (1, b"state 1")
    with pytest.raises(InputError, match=r"rate is 0.30000000000000004 there and 0.3 here"):
        Checkpoints(uri, {**identity, "rate": 0.3}).latest(read)
    for value in (float("nan"), {1, 2}, Path("x")):
        with pytest.raises(InputError, match="no JSON"):
            Checkpoints(uri, {"value": value})


def test_where_a_trainings_checkpoints_are(tmp_path):
    here = checkpoint_directory("", "pytorch", "flowers", IDENTITY)
    assert Path(here).parent == tmp_path / "state" / "checkpoints"
    assert here == checkpoint_directory("", "pytorch", "flowers", dict(reversed(IDENTITY.items())))
    assert here != checkpoint_directory("", "pytorch", "flowers", {**IDENTITY, "learning_rate": 0.2})
    assert checkpoint_directory("s3://runs/a/", "pytorch", "flowers", {}) == "s3://runs/a/pytorch-flowers"
    assert checkpoint_directory("runs", "tensorflow", "my/../model?", {}) == "runs/tensorflow-my_.._model_"


def test_a_place_that_cannot_be_written_to_is_found_out_at_the_start(s3, s3_uri, tmp_path, monkeypatch):
    def start(uri, error):
        with pytest.raises(error) as failure:
            Checkpoints(uri, IDENTITY).latest(read)
        assert str(failure.value).startswith(f"no checkpoint can be saved in {uri}: ")
        assert str(failure.value).endswith("; or name another checkpoint_uri")

    (tmp_path / "file").write_text("")
    start(str(tmp_path / "file"), StorageError)
    start(str(tmp_path / "file" / "below"), StorageError)
    start("s3://no-such-bucket/here", ObjectNotFound)
    start("https://127.0.0.1:9/here", CapabilityMissing)
    with pytest.raises(InputError, match="minio"):
        Checkpoints("minio://here", IDENTITY).latest(read)
    monkeypatch.setenv("TESTS_AWS_SECRET_ACCESS_KEY", "wrong")
    start(s3_uri, AccessDenied)
    with servers.rclone() as server:  # of two writers both would win
        use_profiles(monkeypatch, tmp_path / "profiles.yaml", [(server, "s3://", server.url)], stall_seconds=10)
        start(f"s3://{server.new_bucket()}/here", CapabilityMissing)


@pytest.fixture
def as_another_user():
    """Lets a block run as a user who owns only the directory that it is given."""
    root = Path(tempfile.mkdtemp(prefix="shipway-test-", dir="/tmp"))
    root.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(root, 65534)
        os.seteuid(65534)
    try:
        yield root
    finally:
        os.seteuid(os.getuid())
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(root)


def test_permissions_that_lack(as_another_user, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(as_another_user))
    uri = as_another_user / "here"
    checkpoints = saved(str(uri), 1, kept=1)
    (first,) = uri.iterdir()
    first.chmod(0o555)
    checkpoints.save(2, write(b"state 2"), wait=True)
    checkpoints.save(3, write(b"state 3"), wait=True)
    assert complete(str(uri)) == [1, 2, 3]
    assert caplog.text.count("older checkpoints were not deleted") == 2
    checkpoints.clear()
    assert "not all checkpoints were deleted" in caplog.text
    assert checkpoints.latest(read) == (3, b"state 3")
    uri.chmod(0o555)
    with pytest.raises(AccessDenied, match="no checkpoint can be saved"):
        checkpoints.latest(read)


MEASURE = """
import resource, sys
from shipway.components.common.training.checkpoints import Checkpoints
def write(directory):
    with (directory / "state").open("wb") as file:
        for _ in range(int(sys.argv[2])):
            file.write(bytes(1 << 20))
checkpoints = Checkpoints(sys.argv[1], {})
checkpoints.save(1, write, wait=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_large_checkpoints_are_not_held_in_memory(uri):
    def megabytes(size):
        command = [sys.executable, "-c", MEASURE, uri, str(size)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert megabytes(400) - megabytes(1) < 200
    assert Checkpoints(uri, {}).latest(lambda directory: (directory / "state").stat().st_size) == (1, 1 << 20)


# Everything that changes a file system, but for the bytes of files.
CHANGES = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


def killed_at(moment, uri):
    """Saves steps 3 and 4 and clears, in a child that is killed before its ``moment``-th change to the file system.

    Returns:
        The last step that the child knew to be saved, whether it had begun to clear, and whether it was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            checkpoints = Checkpoints(uri, IDENTITY)
            sys.addaudithook(hook)
            for step in (3, 4):
                checkpoints.save(step, write(b"state %d" % step), wait=True)
                os.write(writing, b"%d" % step)
            os.write(writing, b"!")
            checkpoints.clear()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert status in (0, signal.SIGKILL)
    return int(told.rstrip(b"!")[-1:] or b"2"), told.endswith(b"!"), status == signal.SIGKILL


def test_a_kill_at_every_change_to_the_disk_loses_nothing(tmp_path, temporary, caplog):
    saved(str(tmp_path / "before"), 1, 2)
    moments, killed, uri = 0, True, tmp_path / "here"
    while killed:
        moments += 1
        shutil.copytree(tmp_path / "before", uri)
        last, clearing, killed = killed_at(moments, str(uri))
        following = Checkpoints(str(uri), IDENTITY)
        step, state = following.latest(read) or (4, None)
        assert os.listdir(temporary) == []
        if clearing:
            assert state in (b"state 4", None)
        else:
            assert step in (last, last + 1)
            assert state == b"state %d" % step
            assert len(complete(str(uri))) in (2, 3)
        following.save(step + 1, write(b"new"), wait=True)
        following.save(step + 2, write(b"newer"), wait=True)
        assert complete(str(uri)) == [step + 1, step + 2]
        assert len(os.listdir(uri)) == 2
        following.clear()
        assert not uri.exists()
    assert moments > 50
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


TRAINING = """
import sys
from shipway.components.common.training.checkpoints import Checkpoints
def state(step):
    return step.to_bytes(8, "big") * 20_000
checkpoints = Checkpoints(sys.argv[1], {"training": 1})
found = checkpoints.latest(lambda directory: (directory / "state").read_bytes())
step = found[0] if found else 0
assert found is None or found[1] == state(step)
print("resumed", step, flush=True)
while True:
    step += 1
    checkpoints.save(step, lambda directory: (directory / "state").write_bytes(state(step)))
    print("saved", step, flush=True)
"""
KILLS = 12


@pytest.mark.parametrize("kind", ["path", "s3"])
def test_kills_at_random_moments_lose_one_interval_at_most(kind, request, tmp_path, temporary):
    uri = request.getfixturevalue("s3_uri") if kind == "s3" else str(tmp_path / "here")
    rng, before = random.Random(8), 0
    for _ in range(KILLS):
        training = subprocess.Popen([sys.executable, "-c", TRAINING, uri], stdout=subprocess.PIPE, bufsize=0)
        assert training.stdout.readline() == b"resumed %d\n" % before
        select.select([training.stdout], [], [], rng.random())
        time.sleep(rng.random() / 2)
        training.kill()
        lines = training.communicate(timeout=WAIT_SECONDS)[0].split()
        assert training.returncode == -signal.SIGKILL
        last = int(lines[-1]) if lines else before
        newest = complete(uri)[-1:] or [0]
        found = Checkpoints(uri, {"training": 1}).latest(lambda at: (at / "state").read_bytes())
        step = found[0] if found else 0
        assert [step] == newest
        # One may be on its way, and one complete that the process did not come to tell.
        assert max(before, last - 1) <= step <= last + 1
        assert os.listdir(temporary) == []
        before = step
    assert before > 0
    Checkpoints(uri, {"training": 1}).clear()
    assert objects(uri) == {}
