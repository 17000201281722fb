"""What waits is bounded, whoever is slow."""

from __future__ import annotations

import threading

from observed_server import eventually

from shipway.serving.observability.feed import Feed


def test_too_many_items_are_dropped_and_the_others_come_in_their_order():
    free, taken = threading.Event(), []

    def take(batch: list[int]) -> None:
        free.wait(10)
        taken.extend(batch)

    feed: Feed[int] = Feed("test", take, most_items=3, most_at_once=1, interval_seconds=0.01)
    feed.offer(0)
    eventually(lambda: not feed.waiting)  # it is being taken
    for item in range(1, 11):
        feed.offer(item)
    assert (feed.waiting, feed.dropped) == (3, 7)
    free.set()
    assert feed.close(10)
    assert taken == [0, 1, 2, 3]


def test_too_many_bytes_are_dropped_and_room_is_made_by_what_is_taken():
    free, taken = threading.Event(), []

    def take(batch: list[int]) -> None:
        free.wait(10)
        taken.extend(batch)

    feed: Feed[int] = Feed("test", take, most_items=100, most_bytes=100, most_at_once=1, interval_seconds=0.01)
    feed.offer(0, 60)
    eventually(lambda: not feed.waiting)
    for item in range(1, 4):
        feed.offer(item, 60)
    assert (feed.waiting, feed.dropped) == (1, 2)
    free.set()
    eventually(lambda: not feed.waiting)
    feed.offer(4, 100)
    feed.offer(5, 1000)
    assert feed.close(10)
    assert (taken, feed.dropped) == ([0, 1, 4], 3)


def test_an_error_costs_its_items_only():
    taken = []

    def take(batch: list[int]) -> None:
        if 1 in batch:
            raise RuntimeError("nobody expected it")
        taken.extend(batch)

    feed: Feed[int] = Feed("test", take, most_items=100, most_at_once=1, interval_seconds=0.01)
    for item in range(3):
        feed.offer(item)
    assert feed.close(10)
    assert (taken, feed.dropped) == ([0, 2], 1)


def test_who_does_not_come_to_an_end_is_not_waited_for():
    free = threading.Event()
    feed: Feed[int] = Feed("test", lambda _: free.wait(10) and None, most_items=1, interval_seconds=0.01)
    feed.offer(0)
    assert not feed.close(0.2)
    free.set()
