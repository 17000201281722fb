"""Uploads in parts, as another process may go on with them."""

from __future__ import annotations

import pytest
from places import DATA, PART_BYTES, PARTS, Place, check_error

from shipway.components.common.errors import IntegrityError, ObjectNotFound
from shipway.components.common.storage.checksums import bytes_checksums, mismatch

RESUMING = ("file", "pvc", "moto", "seaweedfs", "rclone", "fake-gcs", "gcs-stub", "gcp-emulator")


@pytest.mark.parametrize("server", RESUMING, indirect=True)
def test_uploading_in_parts(place: Place) -> None:
    upload = place.upload("big", PARTS)
    assert upload.parts == 3
    assert upload.session.isprintable()
    first, last = ([0, 1], [2]) if place.store.sequential_parts else ([2, 0], [1])
    receipts = place.send(upload, PARTS, first)
    assert not place.store.exists(place.key("big"))
    receipts |= place.send(upload, PARTS, last)
    info = place.store._finish_upload(upload, receipts)
    assert (info.key, info.size) == (place.key("big"), len(PARTS))
    stat = place.store.stat(place.key("big"))
    assert (stat.size, stat.version) == (len(PARTS), info.version)
    assert not mismatch(bytes_checksums(PARTS, stat.checksums), stat.checksums)
    assert place.get("big") == PARTS
    assert place.names() == ["big"]


@pytest.mark.parametrize("data", [b"x", DATA[:PART_BYTES], DATA[: PART_BYTES + 1]], ids=["byte", "part", "part+1"])
def test_few_parts(place: Place, data: bytes) -> None:
    assert place.put_in_parts("big", data).size == len(data)
    assert place.get("big") == data


@pytest.mark.parametrize("server", RESUMING, indirect=True)
def test_another_process_goes_on(place: Place) -> None:
    upload = place.upload("big", PARTS)
    place.send(upload, PARTS, [0])
    other = Place(place.server)
    other.__dict__.update(bucket=place.bucket, base=place.base)
    if "resumption" in place.server.ignores:
        with pytest.raises(ObjectNotFound):
            other.store._sent_parts(upload)
        return
    receipts = other.store._sent_parts(upload)
    assert list(receipts) == [0]
    receipts |= other.send(upload, PARTS, [1, 2])
    other.store._finish_upload(upload, receipts)
    assert place.get("big") == PARTS


@pytest.mark.parametrize("server", ["file", "pvc", "moto", "seaweedfs"], indirect=True)
def test_a_part_is_sent_twice(place: Place) -> None:
    upload = place.upload("big", PARTS)
    place.send(upload, b"?" * len(PARTS), [0, 1])
    place.store._finish_upload(upload, place.send(upload, PARTS, [0, 1, 2]))
    assert place.get("big") == PARTS


def test_giving_an_upload_up(place: Place) -> None:
    upload = place.upload("big", PARTS)
    place.send(upload, PARTS, [0])
    place.store._abort_upload(upload)
    place.store._abort_upload(upload)
    assert place.names() == []
    if "abortion" not in place.server.ignores:
        with pytest.raises(ObjectNotFound):
            place.store._sent_parts(upload)


@pytest.mark.parametrize("server", RESUMING, indirect=True)
def test_parts_of_something_else(place: Place) -> None:
    """A store refuses, or says what it has, or has what a reader refuses."""
    upload = place.upload("big", PARTS)
    damaged = PARTS[: 2 * PART_BYTES] + b"damaged" + PARTS[2 * PART_BYTES + 7 :]
    try:
        info = place.store._finish_upload(upload, place.send(upload, damaged, [0, 1, 2]))
    except IntegrityError as error:
        check_error(place.uri("big"), error)
        assert not place.store.exists(place.key("big"))
    else:
        if info.checksums.agree(upload.checksums):
            with pytest.raises(IntegrityError):
                place.get("big")
