from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.components.common.errors import (
    AccessDenied,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    UnsafeName,
)
from shipway.components.common.storage.backends import local
from shipway.components.common.storage.backends.local import LocalStore
from shipway.components.common.storage.checksums import Checksums, crc32c_of, encoded_crc32c
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.objects import Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri, parse_uri

PART = 1000
STORE = LocalStore(StorageUri("file", "", ""), Profile()).within(Effort(Options(retry_seconds=0)))


def checksums_of(data):
    return Checksums(crc32c=encoded_crc32c(crc32c_of(data)))


def key_of(path):
    return parse_uri(path).key


def files_in(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def keys(store, prefix, recursive=True):
    return [info.key.removeprefix(f"{prefix}/") for info in store.list(prefix, recursive=recursive)]


@pytest.fixture
def key(tmp_path):
    return key_of(tmp_path / "deep" / "er" / "object")


@pytest.fixture
def claim(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIPWAY_PVC_ROOT", str(tmp_path))
    (tmp_path / "models").mkdir()
    return LocalStore(StorageUri("pvc", "models", ""), Profile())


def test_what_is_written_is_there_with_parents_and_nothing_besides(tmp_path, key):
    written = STORE.put_bytes(key, b"hello")
    found = STORE.stat(key)
    assert (found.key, found.size, found.version, found.modified) == (key, 5, written.version, written.modified)
    assert (written.checksums, bool(found.checksums)) == (checksums_of(b"hello"), False)
    assert STORE.get_bytes(key) == (b"hello", found)
    assert b"".join(STORE.read(key, 1, 4, found.version)) == b"ell"
    assert files_in(tmp_path) == ["deep/er/object"]


def test_every_write_has_a_version_of_its_own(key):
    versions = [STORE.put_bytes(key, b"same size").version for _ in range(50)]
    assert len(set(versions)) == 50
    assert STORE.stat(key).version == versions[-1]


def test_conditions(key, tmp_path):
    first = STORE.put_bytes(key, b"1", if_none_match=True)
    with pytest.raises(PreconditionFailed, match="there already") as error:
        STORE.put_bytes(key, b"2", if_none_match=True)
    assert (error.value.uri, error.value.retryable) == (f"file:///{key}", False)
    second = STORE.put_bytes(key, b"2", if_match=first.version)
    for attempt in (
        lambda: STORE.put_bytes(key, b"3", if_match=first.version),
        lambda: STORE.delete(key, first.version),
    ):
        with pytest.raises(PreconditionFailed, match="no longer, the version"):
            attempt()
    assert STORE.get_bytes(key)[0] == b"2"
    STORE.delete(key, second.version)
    STORE.delete(key, second.version)
    with pytest.raises(PreconditionFailed):
        STORE.put_bytes(key, b"3", if_match=second.version)
    assert files_in(tmp_path) == []
    assert Path("/", key).parent.is_dir()


def test_a_file_that_changes_is_not_read_on(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(3 << 20))
    key, version = key_of(file), STORE.stat(key_of(file)).version
    reading = STORE.read(key, 0, 3 << 20)
    assert len(next(reading)) == 1 << 20
    with file.open("r+b") as writing:
        writing.write(b"x")
    with pytest.raises(PreconditionFailed):
        list(reading)
    with pytest.raises(PreconditionFailed):
        list(STORE.read(key, 0, 1, version))


def test_a_file_that_is_replaced_meanwhile_is_read_to_its_end(tmp_path):
    key = key_of(tmp_path / "file")
    version = STORE.put_bytes(key, b"a" * (3 << 20)).version
    reading = STORE.read(key, 0, 3 << 20, version)
    first = next(reading)
    STORE.put_bytes(key, b"b" * (3 << 20))
    assert first + b"".join(reading) == b"a" * (3 << 20)


@pytest.mark.parametrize("recursive", [True, False])
def test_listings_are_in_the_order_of_keys_and_stay_in_the_directory(tmp_path, recursive, monkeypatch):
    for name in ("m/v1/b", "m/v1/a/x", "m/v1/a/y", "m/v1/a-b", "m/v1/a.txt", "m/v1/é", "m/v10/a", "m/v1x"):
        STORE.put_bytes(key_of(tmp_path / name), name.encode())
    for hidden in (".shipway.lock", f".shipway-{'0a' * 8}.part"):
        (tmp_path / "m" / "v1" / hidden).touch()
    (tmp_path / "m" / "v1" / ".shipway-mine.part").touch()
    below = ["a/x", "a/y"] if recursive else ["a/"]
    expected = [".shipway-mine.part", "a-b", "a.txt", *below, "b", "é"]
    for page in (1, 2, 3, 1000):
        monkeypatch.setattr(local, "_PAGE_OBJECTS", page)
        assert keys(STORE, key_of(tmp_path / "m/v1"), recursive) == expected
    assert keys(STORE, key_of(tmp_path / "none")) == keys(STORE, key_of(tmp_path / "m/v1/b")) == []


@given(
    names=st.sets(
        st.lists(st.text("ab-./é", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join), max_size=12
    ),
    page=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_any_tree_is_listed_completely_and_in_order(names, page, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        if not any(part in ("", ".", "..") for part in name.split("/")):
            with contextlib.suppress(StorageError):
                STORE.put_bytes(key_of(root / name), b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_PAGE_OBJECTS", page)
        assert keys(STORE, key_of(root)) == files_in(root)


def test_links_within_a_directory_are_followed(tmp_path):
    STORE.put_bytes(key_of(tmp_path / "d/real/file"), b"12345")
    (tmp_path / "d" / "file").symlink_to("real/file")
    (tmp_path / "d" / "folder").symlink_to(tmp_path / "d" / "real")
    assert keys(STORE, key_of(tmp_path / "d")) == ["file", "folder/file", "real/file"]
    assert keys(STORE, key_of(tmp_path / "d"), recursive=False) == ["file", "folder/", "real/"]
    assert STORE.stat(key_of(tmp_path / "d/folder/file")).size == 5


@pytest.mark.parametrize("target", ["../secret", "../outside", "/etc/hostname", "../../nowhere"])
def test_links_out_of_a_directory_are_refused(tmp_path, target):
    (tmp_path / "outside").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "d" / "below").mkdir(parents=True)
    (tmp_path / "d" / "below" / "link").symlink_to(Path("..") / target)
    with pytest.raises(UnsafeName, match="symlink escape"):
        keys(STORE, key_of(tmp_path / "d"))


def test_links_that_lead_nowhere_or_in_circles_are_named(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "link").symlink_to("gone")
    (tmp_path / "circle" / "below").mkdir(parents=True)
    (tmp_path / "circle" / "below" / "link").symlink_to(tmp_path / "circle")
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(StorageError, match=r"link to .*gone, which is not there"):
        keys(STORE, key_of(tmp_path / "broken"))
    with pytest.raises(ObjectNotFound):
        STORE.stat(key_of(tmp_path / "broken" / "link"))
    with pytest.raises(UnsafeName, match="a directory that it lies in"):
        keys(STORE, key_of(tmp_path / "circle"))
    with pytest.raises(StorageError, match="circle"):
        STORE.stat(key_of(tmp_path / "itself"))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_never_opened(tmp_path, kind):
    path = Path("/dev/zero")
    with contextlib.ExitStack() as stack:
        if kind == "pipe":
            path = tmp_path / "d" / "pipe"
            path.parent.mkdir()
            os.mkfifo(path)
        if kind == "socket":
            path = tmp_path / "d" / "socket"
            path.parent.mkdir()
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        attempts = [lambda: STORE.stat(key_of(path)), lambda: list(STORE.read(key_of(path), 0, 1))]
        attempts += [lambda: keys(STORE, key_of(path.parent))] if kind != "device" else []
        for attempt in attempts:
            with pytest.raises(StorageError, match=rf"is a.* {kind}|is a {kind}") as error:
                attempt()
            assert not error.value.retryable


def test_claims_are_looked_for_where_they_are_mounted(claim, tmp_path):
    claim.put_bytes("m/v1/model", b"x")
    assert (tmp_path / "models/m/v1/model").read_bytes() == b"x"
    assert [info.key for info in claim.list("")] == ["m/v1/model"]
    absent = LocalStore(StorageUri("pvc", "absent", ""), Profile())
    for attempt in (lambda: absent.stat("m"), lambda: list(absent.list("")), lambda: absent.put_bytes("m", b"")):
        with pytest.raises(
            StorageError, match=f"not mounted at {tmp_path}/absent; mount it.*SHIPWAY_PVC_ROOT"
        ) as error:
            attempt()
        assert not isinstance(error.value, ObjectNotFound)
    assert not (tmp_path / "absent").exists()


def test_nothing_leads_out_of_a_claim(claim, tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "models" / "link").symlink_to("../secret")
    (tmp_path / "models" / "up").symlink_to("..")
    for key in ("link", "up/secret", "../secret", "/etc/hostname"):
        with pytest.raises(UnsafeName, match="symlink escape"):
            claim.stat(key)
        with pytest.raises(UnsafeName):
            claim.put_bytes(key, b"y")
        with pytest.raises(UnsafeName):
            claim.delete(key)
    with pytest.raises(UnsafeName, match="NUL"):
        claim.stat("a\0b")
    assert (tmp_path / "secret").read_text() == "x"


def test_directories_in_the_way_are_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "directory" / "sub").mkdir(parents=True)
    with pytest.raises(ObjectNotFound, match="directory is a directory, not a file"):
        STORE.stat(key_of(tmp_path / "directory"))
    with pytest.raises(ObjectNotFound, match="a file is where the path needs a directory"):
        STORE.stat(key_of(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match=f"{tmp_path}/file: a file is where a directory must be"):
        STORE.put_bytes(key_of(tmp_path / "file" / "below" / "it"), b"")
    with pytest.raises(StorageError, match="a directory is where the file must be"):
        STORE.put_bytes(key_of(tmp_path / "directory"), b"")
    with pytest.raises(StorageError, match="a directory is where the file must be"):
        STORE.delete(key_of(tmp_path / "directory"))
    with pytest.raises(StorageError, match="longer than the file system takes"):
        STORE.stat(key_of(tmp_path / ("x" * 256)))
    longest = key_of(tmp_path / ("x" * 255))
    assert STORE.put_bytes(longest, b"").version == STORE.stat(longest).version
    assert files_in(tmp_path) == ["file", "x" * 255]


@contextlib.contextmanager
def somebody_else():
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_this_user_may_not_is_named():
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for name in ("read/file", "closed/file"):
            STORE.put_bytes(key_of(directory / name), b"x")
        for name, mode in (("read/file", 0), ("read", 0o555), ("closed", 0), ("", 0o755)):
            (directory / name).chmod(mode)
        with somebody_else():
            for attempt in (
                lambda: STORE.get_bytes(key_of(directory / "read/file")),
                lambda: STORE.put_bytes(key_of(directory / "read/other"), b""),
                lambda: STORE.delete(key_of(directory / "read/file")),
                lambda: STORE.stat(key_of(directory / "closed/file")),
                lambda: keys(STORE, key_of(directory / "closed")),
            ):
                with pytest.raises(AccessDenied, match=f"{directory}/.*this user may not") as error:
                    attempt()
                assert not error.value.retryable
        for name in ("read", "closed"):
            (directory / name).chmod(0o755)


@pytest.mark.tmpfs
def test_full_and_read_only_disks_are_named_and_nothing_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        STORE.put_bytes(key_of(disk / "old"), b"old")
        big = Upload(key_of(disk / "big"), 1 << 20, 1 << 19, checksums_of(bytes(1 << 20)))
        with pytest.raises(StorageError, match="old: no space is left; make room"):
            STORE.put_bytes(key_of(disk / "old"), bytes(1 << 20))
        big = session_of(big)
        with pytest.raises(StorageError, match="big: no space is left"):
            STORE._send_part(big, 0, bytes(1 << 19))
        STORE._abort_upload(big)
        assert files_in(disk) == ["old"]
        assert STORE.get_bytes(key_of(disk / "old"))[0] == b"old"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(AccessDenied, match="read-only"):
            STORE.put_bytes(key_of(disk / "new"), b"")
        with pytest.raises(AccessDenied, match="read-only"):
            STORE.delete(key_of(disk / "old"))
    finally:
        subprocess.run(["umount", disk], check=True)


def session_of(upload):
    return Upload(**{**vars(upload), "session": STORE._start_upload(upload)})


def begun(key, data, **conditions):
    return session_of(Upload(key, len(data), PART, checksums_of(data), **conditions))


def send(upload, data, parts):
    return {part: STORE._send_part(upload, part, data[part * PART : (part + 1) * PART]) for part in parts}


def test_parts_come_in_any_order_and_the_next_process_knows_of_them(key, tmp_path):
    data = os.urandom(4500)
    upload = begun(key, data, if_none_match=True)
    assert STORE._sent_parts(upload) == {}
    receipts = send(upload, data, (4, 1, 3))
    assert STORE._sent_parts(upload) == {part: receipts[part] for part in (1, 3, 4)}
    with pytest.raises(StorageError, match="3 of 5 parts"):
        STORE._finish_upload(upload, receipts)
    assert not STORE.exists(key)
    assert keys(STORE, key_of(tmp_path)) == []
    receipts |= send(upload, b"?" * 5000, (0,)) | send(upload, data, (2, 0))
    done = STORE._finish_upload(upload, receipts)
    assert done.checksums == upload.checksums
    assert (STORE.get_bytes(key)[0], STORE.stat(key).version) == (data, done.version)
    assert files_in(tmp_path) == ["deep/er/object"]
    with pytest.raises(ObjectNotFound):
        STORE._sent_parts(upload)


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1])
def test_parts_of_any_size(key, size):
    data = os.urandom(size)
    upload = begun(key, data)
    STORE._finish_upload(upload, send(upload, data, range(upload.parts)))
    assert STORE.get_bytes(key)[0] == data


def test_damaged_parts_make_no_object(key, tmp_path):
    upload = begun(key, bytes(2500))
    with pytest.raises(IntegrityError, match="crc32c") as error:
        STORE._finish_upload(upload, send(upload, b"\1" * 2500, range(3)))
    assert error.value.retryable
    assert files_in(tmp_path) == []
    STORE._abort_upload(upload)
    upload = begun(key, bytes(2500))
    STORE._abort_upload(upload)
    STORE._abort_upload(upload)
    assert files_in(tmp_path) == []


def test_uploads_keep_conditions_and_can_be_given_up(key, tmp_path):
    first = STORE.put_bytes(key, b"first")
    for conditions in ({"if_none_match": True}, {"if_match": "0-0-0"}):
        upload = begun(key, bytes(1500), **conditions)
        with pytest.raises(PreconditionFailed):
            STORE._finish_upload(upload, send(upload, bytes(1500), range(2)))
        STORE._abort_upload(upload)
    assert STORE.get_bytes(key)[0] == b"first"
    upload = begun(key, bytes(1500), if_match=first.version)
    STORE._finish_upload(upload, send(upload, bytes(1500), range(2)))
    assert STORE.stat(key).size == 1500
    assert files_in(tmp_path) == ["deep/er/object"]


@pytest.mark.parametrize("linked", [False, True])
def test_an_upload_that_was_killed_while_it_was_finished_is_finished(key, tmp_path, linked):
    data = os.urandom(2500)
    upload = begun(key, data, if_none_match=True)
    receipts = send(upload, data, range(3))
    (part,) = tmp_path.rglob(".*.part")
    os.truncate(part, upload.size)
    if linked:
        Path("/", key).hardlink_to(part)
    before = STORE.stat(key) if linked else None
    assert STORE._sent_parts(upload) == receipts
    done = STORE._finish_upload(upload, receipts)
    assert not before or done.version == before.version
    assert (STORE.get_bytes(key)[0], files_in(tmp_path)) == (data, ["deep/er/object"])


WRITER = """
import sys
from shipway.components.common.errors import PreconditionFailed
from shipway.components.common.storage.backends.local import LocalStore
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri
key, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = LocalStore(StorageUri("file", "", ""), Profile())
print("ready", flush=True)
sys.stdin.readline()
won = 0
for _ in range(rounds):
    try:
        if sys.argv[4] == "create":
            store.put_bytes(key, me.encode(), if_none_match=True)
        elif sys.argv[4] == "delete":
            store._delete(key, sys.argv[5])
        elif sys.argv[4] == "replace":
            store.put_bytes(key, me.encode(), if_match=sys.argv[5])
        else:
            data, info = store.get_bytes(key)
            store.put_bytes(key, b"%08d" % (int(data) + 1), if_match=info.version)
        won += 1
    except PreconditionFailed:
        pass
    except Exception as error:
        if sys.argv[4] != "delete" or type(error).__name__ != "ObjectNotFound":
            raise
print(won)
"""


def race(key, what, version="", rounds=1, writers=16):
    """Returns how often each of the processes, which begin at the same time, had its way."""
    with contextlib.ExitStack() as stack:
        processes = []
        for number in range(writers):
            command = [sys.executable, "-c", WRITER, key, f"writer {number:02}", str(rounds), what, version]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes.append(stack.enter_context(subprocess.Popen(command, **pipes)))
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [int(process.stdout.readline()) for process in processes]


@pytest.mark.parametrize("what", ["create", "replace", "delete"])
def test_of_sixteen_processes_one_wins(key, what, tmp_path):
    version = "" if what == "create" else STORE.put_bytes(key, b"writer 99").version
    won = race(key, what, version)
    assert sorted(won) == [0] * 15 + [1]
    if what == "delete":
        assert files_in(tmp_path) == []
    else:
        assert STORE.get_bytes(key)[0] == b"writer %02d" % won.index(1)
        assert files_in(tmp_path) == ["deep/er/object"]


def test_no_increment_is_lost(key, tmp_path):
    STORE.put_bytes(key, b"%08d" % 0)
    won = race(key, "count", rounds=100)
    assert int(STORE.get_bytes(key)[0]) == sum(won) > 0
    assert files_in(tmp_path) == ["deep/er/object"]


def test_a_killed_writer_leaves_the_old_or_the_new_file(key, tmp_path):
    STORE.put_bytes(key, b"0" * (8 << 20))
    script = (
        "import sys\nfrom shipway.components.common.storage.backends.local import LocalStore\n"
        "from shipway.components.common.storage.profiles import Profile\n"
        "from shipway.components.common.storage.uris import StorageUri\n"
        "store = LocalStore(StorageUri('file', '', ''), Profile())\nprint('ready', flush=True)\n"
        "for n in range(10**9):\n store.put_bytes(sys.argv[1], b'%d' % (n % 10) * (8 << 20))"
    )
    for pause in (0.0, 0.011, 0.023, 0.05):
        with subprocess.Popen([sys.executable, "-c", script, key], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        data = Path("/", key).read_bytes()
        assert len(data) == 8 << 20
        assert len(set(data)) == 1
    assert keys(STORE, key_of(tmp_path)) == ["deep/er/object"]
    assert STORE.put_bytes(key, b"after", if_match=STORE.stat(key).version).size == 5
