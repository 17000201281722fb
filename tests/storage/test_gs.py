"""What is particular to Google Cloud Storage; what all stores have in common is in the conformance suite."""

from __future__ import annotations

import dataclasses
import gzip
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gcs_stub import UNIT, Content, Fault, GcsStub
from places import Place
from servers import Server

from shipway.components.common.errors import (
    AccessDenied,
    InputError,
    IntegrityError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)
from shipway.components.common.storage.backends.gs import GsStore
from shipway.components.common.storage.checksums import Checksums, crc32c_of, encoded_crc32c
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.objects import Upload
from shipway.components.common.storage.profiles import Profile
from shipway.components.common.storage.uris import StorageUri

PUT_SESSION = "PUT /upload"
GET_MEDIA = "GET /download"


@pytest.fixture
def stub() -> Iterator[GcsStub]:
    with GcsStub() as server:
        server.buckets.add("bucket")
        yield server


@pytest.fixture
def store(stub: GcsStub) -> GsStore:
    return opened(endpoint_url=stub.url)


def opened(**profile: Any) -> GsStore:
    return GsStore(StorageUri("gs", "bucket", ""), Profile(**{"stall_seconds": 5, **profile}))


def patient(store: GsStore, seconds: float = 20.0) -> GsStore:
    other = store.within(Effort(Options(retry_seconds=seconds)))
    assert isinstance(other, GsStore)
    return other


def crc32c(data: bytes) -> Checksums:
    return Checksums(crc32c=encoded_crc32c(crc32c_of(data)))


def started(store: GsStore, data: bytes, **options: Any) -> Upload:
    upload = Upload(**{"key": "m/big", "size": len(data), "part_bytes": 2 * UNIT, "checksums": crc32c(data), **options})
    return dataclasses.replace(upload, session=store._start_upload(upload))


def sent(store: GsStore, upload: Upload, data: bytes, first: int = 0) -> dict[int, str]:
    size = upload.part_bytes
    return {part: store._send_part(upload, part, data[part * size :][:size]) for part in range(first, upload.parts)}


DATA = os.urandom(5 * UNIT + 12_345)  # three parts, the last one with a bit more than a unit


def test_versions_are_generations(store: GsStore) -> None:
    first = store.put_bytes("m/a", b"one", if_none_match=True)
    second = store.put_bytes("m/a", b"two", if_match=first.version)
    assert int(second.version) > int(first.version)
    assert store.stat("m/a") == second
    assert second.checksums == crc32c(b"two")
    with pytest.raises(PreconditionFailed):
        store.put_bytes("m/a", b"three", if_match=first.version)
    with pytest.raises(PreconditionFailed):
        store.put_bytes("m/a", b"three", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        b"".join(store.read("m/a", 0, 3, first.version))
    with pytest.raises(PreconditionFailed):
        store.delete("m/a", first.version)
    store.delete("m/a", second.version)
    with pytest.raises(PreconditionFailed, match="has been deleted"):
        b"".join(store.read("m/a", 0, 3, second.version))
    with pytest.raises(InputError, match="no version"):
        store.put_bytes("m/a", b"x", if_match='"etag"')


def test_what_is_missing_is_named(store: GsStore, stub: GcsStub) -> None:
    with pytest.raises(ObjectNotFound, match=r"gs://bucket/m/a does not exist.*No such object"):
        store.stat("m/a")
    stub.buckets.clear()
    with pytest.raises(ObjectNotFound, match="bucket does not exist"):
        list(store.list())


def test_md5_is_told_in_hexadecimal(fake_gcs: Server) -> None:
    place = Place(fake_gcs)
    assert place.put("a", b"hello world").checksums.md5 == "5eb63bbbe01eeed093cb22bb8f5acdc3"
    assert next(place.store.list(place.base)).checksums == place.store.stat(place.key("a")).checksums


def test_names_go_and_come_as_they_are(store: GsStore) -> None:
    names = ["m/%2F", "m/a b+c&d=e", "m/grün/日本", "m/x?alt=media#y", "m/~"]
    for name in names:
        store.put_bytes(name, name.encode())
    assert [entry.key for entry in store.list("m")] == sorted(names)
    assert [store.get_bytes(name)[0].decode() for name in names] == names


def test_pages(store: GsStore, stub: GcsStub) -> None:
    for number in range(2_300):
        stub.store("bucket", {"name": f"m/{number:04d}/{'x' * (number % 2)}"}, None, Content(False), True)
    listing = store._list("m/", False, "")
    assert len(listing.objects) == 1_000
    assert listing.next_page
    assert [entry.key for entry in store.list("m", recursive=False)] == [f"m/{number:04d}/" for number in range(2_300)]
    assert [entry.key for entry in store.list("m")] == [f"m/{number:04d}/x" for number in range(1, 2_300, 2)]


def test_damage_on_the_way_in_is_rejected(store: GsStore, stub: GcsStub) -> None:
    with pytest.raises(IntegrityError, match="Provided CRC32C"):
        store._put("a", b"hello", crc32c(b"jello"), "", False)
    stub.faults.append(Fault("POST /upload", damage=True))
    with pytest.raises(IntegrityError, match="it is deleted"):
        store.put_bytes("a", b"hello")
    assert not stub.objects


def test_an_object_that_got_another_name_is_none(store: GsStore, stub: GcsStub) -> None:
    stub.faults.append(Fault("POST /upload", rename="b"))
    with pytest.raises(IntegrityError, match="the name is 'b'"):
        store.put_bytes("a", b"hello")
    stub.faults.append(Fault("POST /upload", rename="b"))
    upload = started(store, DATA)
    with pytest.raises(IntegrityError, match="the name is 'b'"):
        store._finish_upload(upload, sent(store, upload, DATA))
    assert not stub.objects


def test_a_range_comes_in_chunks_over_kept_connections(store: GsStore, stub: GcsStub) -> None:
    data = os.urandom(5 << 20)
    info = store.put_bytes("a", data)
    for start, stop in ((0, len(data)), (7, len(data) - 7), (4 << 20, 5 << 20), (9, 10)):
        chunks = list(store.read("a", start, stop, info.version))
        assert b"".join(chunks) == data[start:stop]
        assert max(map(len, chunks)) <= 1 << 20
    assert stub.connections == 1


def test_an_object_stored_as_gzip_is_read_as_it_is_stored(store: GsStore, stub: GcsStub) -> None:
    packed = Content(False)
    packed.add(gzip.compress(b"hello world" * 1_000))
    stub.store("bucket", {"name": "a", "contentEncoding": "gzip"}, None, packed, True)
    data, info = store.get_bytes("a")
    assert (len(data), gzip.decompress(data)) == (info.size, b"hello world" * 1_000)
    assert b"".join(store.read("a", 5, 20)) == data[5:20]


def test_a_broken_answer_is_taken_up_where_it_broke(store: GsStore, stub: GcsStub) -> None:
    data = os.urandom(3 << 20)
    store.put_bytes("a", data)
    stub.faults += [Fault(GET_MEDIA, keep=1_500_000), Fault(GET_MEDIA, keep=0), Fault(GET_MEDIA, status=503)]
    assert b"".join(patient(store).read("a", 0, len(data))) == data
    starts = [request for request, _ in stub.requests if request.startswith(GET_MEDIA)]
    assert len(starts) == 4


def test_a_server_that_ignores_ranges_is_refused(store: GsStore, stub: GcsStub) -> None:
    store.put_bytes("a", b"hello world")
    stub.faults.append(Fault(GET_MEDIA, whole=True, times=2))
    assert b"".join(store.read("a", 0, 5)) == b"hello"
    with pytest.raises(StorageError, match="something else"):
        b"".join(store.read("a", 6, 11))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, StorageError),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ObjectNotFound),
        (408, StorageUnavailable),
        (412, PreconditionFailed),
        (416, StorageError),
        (429, StorageUnavailable),
        (500, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_statuses(store: GsStore, stub: GcsStub, status: int, error: type[StorageError]) -> None:
    stub.faults.append(Fault("", status=status, times=100))
    upload = Upload("a", 10, UNIT, Checksums(), session="/upload/storage/v1/b/bucket/o?upload_id=secret")
    calls = [
        lambda: store._stat("a"),
        lambda: store._list("a/", True, ""),
        lambda: next(store._read("a", 0, 1, "")),
        lambda: store._put("a", b"x", crc32c(b"x"), "", False),
        lambda: store._delete("a", ""),
        lambda: store._start_upload(upload),
        lambda: store._sent_parts(upload),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert type(caught.value) is error
        assert caught.value.uri.startswith("gs://bucket/a")
        assert "secret" not in str(caught.value)


def test_parts(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA)
    receipts = sent(store, upload, DATA)
    info = store._finish_upload(upload, receipts)
    assert info == store.stat("m/big")
    assert (info.size, info.checksums) == (len(DATA), crc32c(DATA))
    assert b"".join(store.read("m/big", 0, len(DATA))) == DATA
    assert stub.connections == 1
    assert sum(request.startswith(PUT_SESSION) for request, _ in stub.requests) == 3
    assert not store._offsets


def test_what_the_store_did_not_keep_is_sent_again(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA, part_bytes=4 * UNIT)
    stub.faults += [Fault(PUT_SESSION, keep=UNIT), Fault(PUT_SESSION, keep=2 * UNIT)]
    assert store._finish_upload(upload, sent(store, upload, DATA)).checksums == crc32c(DATA)
    stub.faults.append(Fault(PUT_SESSION, keep=0))
    with pytest.raises(StorageUnavailable, match="kept nothing"):
        store._send_part(started(store, DATA), 0, DATA[: 2 * UNIT])


@pytest.mark.parametrize("faults", [{"status": 503}, {"status": 429}, {"cut": True}, {"cut": True, "keep": UNIT}])
def test_a_part_that_fails_goes_on_from_where_the_store_is(store: GsStore, stub: GcsStub, faults: Any) -> None:
    upload, fitted = started(store, DATA), patient(store)
    stub.faults += [Fault(PUT_SESSION, **faults), Fault(PUT_SESSION, **faults, times=2)]
    for part in range(upload.parts):
        data = DATA[part * upload.part_bytes :][: upload.part_bytes]
        receipt = fitted.effort.persistently("", lambda part=part, data=data: fitted._send_part(upload, part, data))  # type: ignore[misc]
    assert store._finish_upload(upload, {2: receipt}).checksums == crc32c(DATA)


def test_a_lost_last_answer_is_asked_for(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA, if_none_match=True)
    stub.faults.append(Fault(PUT_SESSION, times=2))
    stub.faults.append(Fault(PUT_SESSION, cut=True))
    with pytest.raises(StorageUnavailable):
        sent(store, upload, DATA)
    receipts = opened(endpoint_url=stub.url)._sent_parts(upload)
    assert set(receipts) == {0, 1, 2}
    assert store._send_part(upload, 2, DATA[4 * UNIT :]) == receipts[2]
    assert store._finish_upload(upload, receipts) == store.stat("m/big")


def test_another_process_goes_on(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA)
    stub.faults += [Fault(PUT_SESSION), Fault(PUT_SESSION, keep=UNIT, cut=True)]
    with pytest.raises(StorageUnavailable):
        sent(store, upload, DATA)
    later = opened(endpoint_url=stub.url)
    receipts = later._sent_parts(upload)
    assert set(receipts) == {0}
    before = stub.sessions[upload.session.rpartition("=")[2]].content.size
    assert before == 3 * UNIT
    receipts |= sent(later, upload, DATA, first=1)
    assert later._finish_upload(upload, receipts).checksums == crc32c(DATA)


def test_it_goes_on_at_the_real_resumer(gcp_emulator: Server) -> None:
    place = Place(gcp_emulator)
    data = os.urandom(12 << 20)
    upload = place.upload("big", data)
    assert isinstance(place.store, GsStore)
    assert place.store._sent_parts(upload) == {}
    place.send(upload, data, [0])
    later = gcp_emulator.store(place.bucket)
    receipts = later._sent_parts(upload)
    assert set(receipts) == {0}
    receipts |= {part: later._send_part(upload, part, data[part * upload.part_bytes :][: 5 << 20]) for part in (1, 2)}
    assert later._finish_upload(upload, receipts).checksums.crc32c == upload.checksums.crc32c
    assert b"".join(later.read(place.key("big"), 0, len(data))) == data


def test_a_server_that_ends_an_upload_when_asked_leaves_nothing(fake_gcs: Server) -> None:
    place = Place(fake_gcs)
    upload = place.upload("big", os.urandom(12 << 20))
    with pytest.raises(ObjectNotFound):
        fake_gcs.store(place.bucket)._sent_parts(upload)
    assert not place.store.exists(place.key("big"))


def test_a_forgotten_upload(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA)
    stub.faults.append(Fault(PUT_SESSION, forget=True))
    with pytest.raises(ObjectNotFound, match="forgotten"):
        store._send_part(upload, 0, DATA[: 2 * UNIT])
    with pytest.raises(ObjectNotFound, match="forgotten"):
        store._sent_parts(upload)
    store._abort_upload(upload)


def test_an_aborted_upload_is_gone(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA)
    store._send_part(upload, 0, DATA[: 2 * UNIT])
    store._abort_upload(upload)
    assert not stub.sessions
    assert not store._offsets


def test_conditions_hold_at_the_start_and_at_the_end(store: GsStore) -> None:
    upload = started(store, DATA, if_none_match=True)
    version = store.put_bytes("m/big", b"somebody else's").version
    with pytest.raises(PreconditionFailed):
        sent(store, upload, DATA)
    with pytest.raises(PreconditionFailed):
        started(store, DATA, if_none_match=True)
    replacing = started(store, DATA, if_match=version)
    assert store._finish_upload(replacing, sent(store, replacing, DATA)).size == len(DATA)


def test_parts_that_are_not_the_object_make_none(store: GsStore, stub: GcsStub) -> None:
    upload = started(store, DATA, checksums=crc32c(b"something else"))
    with pytest.raises(IntegrityError, match="Provided CRC32C"):
        sent(store, upload, DATA)
    upload = started(store, DATA)
    stub.faults.append(Fault(PUT_SESSION, damage=True, times=3))
    receipts = sent(store, upload, DATA)
    with pytest.raises(IntegrityError, match="it is deleted"):
        store._finish_upload(upload, receipts)
    assert not stub.objects


def test_parts_of_odd_sizes_are_refused(store: GsStore) -> None:
    with pytest.raises(InputError, match="256 KiB"):
        started(store, DATA, part_bytes=UNIT + 1)


def test_the_address_of_an_upload_is_told_to_nobody(stub: GcsStub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = opened(endpoint_url=stub.url)
    upload = started(store, DATA)
    secret = upload.session.rpartition("=")[2]
    store._send_part(upload, 0, DATA[: 2 * UNIT])
    elsewhere = opened(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable, match="refused") as caught:
        elsewhere._send_part(upload, 1, DATA[2 * UNIT : 4 * UNIT])
    assert secret not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert "upload_id=..." in caplog.text
    assert secret not in caplog.text


def test_a_slow_network_is_no_stalled_one() -> None:
    """Sent at once, a body would have to go out within the socket's timeout."""
    data = os.urandom(8 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

        def crawl() -> None:
            connection, _ = listener.accept()
            left = len(data)
            while left > 0:
                left -= len(connection.recv(1 << 20))
                time.sleep(0.02)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=crawl, daemon=True)
        thread.start()
        store = opened(endpoint_url=f"http://127.0.0.1:{listener.getsockname()[1]}", stall_seconds=0.5)
        start = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"does not answer|makes no sense"):
            store._put("a", data, crc32c(data), "", False)
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic() - start > 1


def test_keys_and_projects_are_told(stub: GcsStub) -> None:
    store = opened(endpoint_url=stub.url, kms_key="projects/p/k", project="payer")
    store.put_bytes("a", b"x")
    upload = started(store, DATA)
    store.get_bytes("a")
    list(store.list())
    store._abort_upload(upload)
    store.delete("a")
    assert all("userProject=payer" in request for request, _ in stub.requests)
    posts = [request for request, _ in stub.requests if request.startswith("POST")]
    assert len(posts) == 2
    assert all("kmsKeyName=projects%2Fp%2Fk" in request for request in posts)


def test_threads_share_the_client_and_have_a_connection_each(stub: GcsStub) -> None:
    store = GsStore(StorageUri("gs", "bucket", ""), Profile(endpoint_url=stub.url), workers=24)
    with ThreadPoolExecutor(24) as pool:
        infos = list(pool.map(lambda number: store.within(Effort()).put_bytes(f"{number}", b"x"), range(200)))
        assert list(pool.map(lambda info: store.get_bytes(info.key)[1], infos)) == infos
    assert stub.connections <= 24
