"""What files and their names must never do: vanish, be mixed up, lead elsewhere, or change while they are sent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from shipway.components.common import storage
from shipway.components.common.errors import (
    AccessDenied,
    ConflictError,
    InputError,
    IntegrityError,
    StorageError,
    UnsafeName,
)
from shipway.components.common.storage.backends import fast_s3
from shipway.components.common.storage.checksums import Checksums
from shipway.components.common.storage.effort import Effort
from shipway.components.common.storage.uploads import put_file
from shipway.components.common.storage.uris import parse_uri


def test_names_that_others_have_on_their_way_are_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("x", ".x.part"):
        (tmp_path / "source" / name).write_bytes(b"1")
    with pytest.raises(UnsafeName, match=r"\.x\.part"):
        storage.download(str(tmp_path / "source"), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_linked_directories_are_not_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_bytes(b"1")
    (tmp_path / "model" / "linked").symlink_to(tmp_path / "real")
    for send in (storage.publish_version, storage.upload):
        with pytest.raises(InputError, match="linked is a link to a directory"):
            send(tmp_path / "model", str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


def test_what_the_caller_expects_is_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    store, key = storage.open_store(tmp_path / "a")
    for expected in (Checksums(md5="0" * 32), Checksums(crc32c="AAAAAA=="), Checksums(sha256="0" * 64)):
        with pytest.raises(IntegrityError):
            store.get_file(key, tmp_path / "b", expected)
    assert not (tmp_path / "b").exists()


def test_a_file_that_is_not_what_the_manifest_says_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    store, key = storage.open_store(tmp_path / "b")
    with pytest.raises(ConflictError, match="changed while it was sent"):
        put_file(store, tmp_path / "a", key, checksums=Checksums(crc32c="AAAAAA=="))
    assert not (tmp_path / "b").exists()


def test_what_the_disk_refuses_is_an_error_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(StorageError) as caught:
        storage.download(tmp_path / "a", tmp_path / "a" / "below")
    assert caught.value.uri.endswith("/a")


def test_a_copy_does_not_follow_links_out_of_its_target(tmp_path: Path) -> None:
    for name in ("source/link", "outside", "target"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "source" / "link" / "a").write_bytes(b"1")
    (tmp_path / "target" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeName):
        storage.copy(str(tmp_path / "source"), str(tmp_path / "target"))
    assert not any((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"part_mib": 0}, {"deadline_seconds": float("nan")}])
def test_options_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        storage.Options(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("uri", ["file:///d/model#1", "file:///d/model?1"])
def test_marks_in_file_uris_are_not_dropped(uri: str) -> None:
    with pytest.raises(InputError, match="%23"):
        parse_uri(uri)


def test_one_operations_failure_does_not_stop_another_on_the_same_account() -> None:
    effort, failed, checked = Effort(), threading.Event(), []

    def fail(_item: int) -> None:
        raise AccessDenied("no")

    def other() -> None:
        failed.wait(10)
        effort.each(lambda item: checked.append((item, effort.check("x"))), [1])

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(AccessDenied):
        effort.each(fail, [1])
    failed.set()
    thread.join()
    assert checked == [(1, None)]


def test_a_forked_process_leaves_obstore_alone() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0 if fast_s3._FORKED.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not fast_s3._FORKED.is_set()
