"""W3C trace context as its specification says, and the ids of requests."""

from __future__ import annotations

import re

import pytest

from shipway.serving.observability.trace import context_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


def context(*headers: tuple[str, str]):
    return context_of([(name.encode(), value.encode()) for name, value in headers])


def test_a_trace_goes_on_with_a_span_of_the_servers_own():
    told = context(("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert (told.trace_id, told.flags, told.state, told.continues) == (TRACE, 1, "a=1,b=2", True)
    assert re.fullmatch("[0-9a-f]{16}", told.span_id)
    assert told.span_id != PARENT
    assert told.traceparent == f"00-{TRACE}-{told.span_id}-01"
    assert dict(told.reply_headers)[b"traceresponse"] == told.traceparent.encode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD + " ",
        GOOD + "-",
        GOOD + "-what-comes-later",
        GOOD[:-1],
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0g",
        f"00_{TRACE}_{PARENT}_01",
        f"01-{TRACE}-{PARENT}-01x",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(value: str):
    told = context(("traceparent", value), ("tracestate", "a=1"))
    assert told.trace_id != TRACE
    assert re.fullmatch("[0-9a-f]{32}", told.trace_id)
    assert (told.flags, told.state, told.continues) == (0, "", False)
    assert b"traceresponse" not in dict(told.reply_headers)


def test_two_traceparents_are_none():
    assert not context(("traceparent", GOOD), ("traceparent", GOOD)).continues


@pytest.mark.parametrize("value", [f"01-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-more-of-it"])
def test_later_versions_are_read_as_far_as_they_are_known(value: str):
    told = context(("traceparent", value))
    assert told.trace_id == TRACE
    assert told.traceparent == f"00-{TRACE}-{told.span_id}-01"


def test_flags_without_a_meaning_are_not_passed_on():
    assert context(("traceparent", f"00-{TRACE}-{PARENT}-ff")).flags == 0b11


@pytest.mark.parametrize("state", [",".join(f"v{i}=1" for i in range(33)), "a=" + "x" * 5000, "a=\x7f"])
def test_a_state_that_nobody_would_take_is_left_out(state: str):
    told = context(("traceparent", GOOD), ("tracestate", state))
    assert (told.trace_id, told.state) == (TRACE, "")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-request-id", "mine")], "mine"),
        ([("ce-id", "event")], "event"),
        ([("ce-id", "event"), ("x-request-id", "mine")], "mine"),
        ([("ce-id", "event"), ("x-request-id", "not one")], "event"),
    ],
)
def test_the_callers_id_is_kept(headers: list[tuple[str, str]], expected: str):
    told = context(*headers)
    assert told.request_id == expected
    assert dict(told.reply_headers) == {b"x-request-id": expected.encode()}


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "ä", "a\tb"])
def test_an_id_that_cannot_be_told_back_is_replaced(value: str):
    assert re.fullmatch("[0-9a-f]{32}", context(("x-request-id", value)).request_id)


def test_ids_are_new_each_time():
    told = [context() for _ in range(1000)]
    for name in ("trace_id", "span_id", "request_id"):
        assert len({getattr(each, name) for each in told}) == 1000
