"""Preconditions: alike in every store; what a server is known to ignore is asserted as it is."""

from __future__ import annotations

import pytest
from places import PARTS, Place, check_error, race
from servers import Server

from shipway.components.common.errors import ObjectNotFound, PreconditionFailed

CONDITIONAL = ("file", "pvc", "moto", "seaweedfs", "fake-gcs", "gcs-stub")


def test_reading_another_version(place: Place) -> None:
    old = place.put("r", b"first").version
    place.put("r", b"second one")
    if "read_conditions" in place.server.ignores:
        return
    with pytest.raises(PreconditionFailed) as caught:
        list(place.store.read(place.key("r"), 0, 5, old))
    check_error(place.uri("r"), caught.value)


def test_there_must_be_none_yet(place: Place) -> None:
    place.put("c", b"first", if_none_match=True)
    if "put_conditions" in place.server.ignores:
        place.put("c", b"second", if_none_match=True)
        assert place.get("c") == b"second"
        return
    with pytest.raises(PreconditionFailed) as caught:
        place.put("c", b"second", if_none_match=True)
    check_error(place.uri("c"), caught.value)
    assert not caught.value.retryable
    assert place.get("c") == b"first"
    place.store.delete(place.key("c"))
    place.put("c", b"third", if_none_match=True)
    assert place.get("c") == b"third"


def test_it_must_be_this_version(place: Place) -> None:
    old = place.put("c", b"first").version
    new = place.put("c", b"second", if_match=old).version
    if "put_conditions" in place.server.ignores:
        place.put("c", b"third", if_match=old)
        assert place.get("c") == b"third"
        return
    with pytest.raises(PreconditionFailed) as caught:
        place.put("c", b"third", if_match=old)
    check_error(place.uri("c"), caught.value)
    assert place.get("c") == b"second"
    place.put("c", b"fourth", if_match=new)
    assert place.get("c") == b"fourth"


def test_what_is_gone_has_no_version(place: Place) -> None:
    version = place.put("c", b"first").version
    place.store.delete(place.key("c"))
    if "put_conditions" in place.server.ignores:
        return
    with pytest.raises((PreconditionFailed, ObjectNotFound)):
        place.put("c", b"second", if_match=version)
    assert not place.store.exists(place.key("c"))


def test_deleting_this_version(place: Place) -> None:
    old = place.put("c", b"first").version
    new = place.put("c", b"second").version
    if "delete_conditions" in place.server.ignores:
        place.store.delete(place.key("c"), if_match=new)
        assert not place.store.exists(place.key("c"))
        return
    with pytest.raises(PreconditionFailed) as caught:
        place.store.delete(place.key("c"), if_match=old)
    check_error(place.uri("c"), caught.value)
    assert place.get("c") == b"second"
    place.store.delete(place.key("c"), if_match=new)
    assert not place.store.exists(place.key("c"))


def test_parts_where_there_must_be_none_yet(place: Place) -> None:
    place.put("big", b"first")
    if "upload_conditions" in place.server.ignores:
        return
    with pytest.raises(PreconditionFailed) as caught:
        place.put_in_parts("big", PARTS, if_none_match=True)
    check_error(place.uri("big"), caught.value)
    assert place.get("big") == b"first"


def test_parts_where_another_was_first(place: Place) -> None:
    upload = place.upload("big", PARTS, if_none_match=True)
    receipts = place.send(upload, PARTS, [0, 1])
    place.put("big", b"first")
    if "upload_conditions" in place.server.ignores:
        return
    with pytest.raises(PreconditionFailed):
        place.store._finish_upload(upload, receipts | place.send(upload, PARTS, [2]))
    assert place.get("big") == b"first"


def test_parts_of_a_new_version(place: Place) -> None:
    old = place.put("big", b"first").version
    new = place.put_in_parts("big", PARTS, if_match=old).version
    assert place.get("big") == PARTS
    assert new == place.store.stat(place.key("big")).version != old
    if "replacing_uploads" in place.server.ignores:
        return
    with pytest.raises(PreconditionFailed):
        place.put_in_parts("big", b"other" + PARTS, if_match=old)
    assert place.get("big") == PARTS


@pytest.mark.parametrize("server", CONDITIONAL, indirect=True)
def test_sixteen_make_one_object(server: Server) -> None:
    place = Place(server)
    winners, codes = race(place, "alias", "")
    assert codes == [PreconditionFailed.exit_code] * 15
    assert [place.get("alias").decode()] == winners


@pytest.mark.parametrize("server", CONDITIONAL, indirect=True)
def test_sixteen_replace_one_object(server: Server) -> None:
    place = Place(server)
    version = place.put("alias", b"before").version
    winners, codes = race(place, "alias", version)
    assert codes == [PreconditionFailed.exit_code] * 15
    assert [place.get("alias").decode()] == winners
