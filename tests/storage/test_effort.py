from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shipway.components.common.errors import AccessDenied, IntegrityError, StorageError, StorageUnavailable
from shipway.components.common.storage.effort import Effort, Options

URI = "s3://bucket/key"
MIB = 1 << 20


class Flaky:
    """Fails some times before it succeeds, and keeps the times of its calls."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or StorageUnavailable(f"{URI}: busy", URI)
        self.calls: list[float] = []

    def __call__(self) -> str:
        self.calls.append(time.monotonic())
        if len(self.calls) <= self.failures:
            raise self.error
        return "done"


def test_trying_again_after_pauses(caplog: pytest.LogCaptureFixture) -> None:
    flaky = Flaky(3)
    assert Effort().persistently(URI, flaky) == "done"
    assert len(flaky.calls) == 4
    pauses = [after - before for before, after in zip(flaky.calls, flaky.calls[1:], strict=False)]
    assert all(pause <= 0.2 * 2**number + 0.3 for number, pause in enumerate(pauses))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "busy; trying again in" in caplog.text


def test_the_jitter_is_full() -> None:
    """Processes that failed together must not come back together."""
    random.seed(5)
    first = []
    for _ in range(20):
        flaky = Flaky(1)
        Effort().persistently(URI, flaky)
        first.append(flaky.calls[1] - flaky.calls[0])
    assert min(first) < 0.07
    assert max(first) > 0.13


@pytest.mark.parametrize("error", [AccessDenied("no", URI), IntegrityError("bad", URI), ValueError("a bug")])
def test_what_does_not_pass_is_not_tried_again(error: Exception) -> None:
    flaky = Flaky(9, error)
    with pytest.raises(type(error)) as caught:
        Effort().persistently(URI, flaky)
    assert caught.value is error
    assert len(flaky.calls) == 1


def test_giving_up_after_a_while() -> None:
    flaky, started = Flaky(10_000), time.monotonic()
    with pytest.raises(StorageUnavailable, match="busy") as caught:
        Effort(Options(retry_seconds=1)).persistently(URI, flaky)
    assert 0.1 < time.monotonic() - started < 1.5
    assert len(flaky.calls) > 1
    assert caught.value is flaky.error


def test_no_time_to_try_again() -> None:
    flaky = Flaky(1)
    with pytest.raises(StorageUnavailable):
        Effort(Options(retry_seconds=0)).persistently(URI, flaky)
    assert len(flaky.calls) == 1


def test_the_deadline_ends_everything() -> None:
    effort = Effort(Options(deadline_seconds=0.5))
    started = time.monotonic()
    with pytest.raises(StorageUnavailable):
        effort.persistently(URI, Flaky(10_000))
    assert time.monotonic() - started < 0.9
    time.sleep(max(0.0, started + 0.55 - time.monotonic()))
    never = Flaky(0)
    with pytest.raises(StorageUnavailable, match=r"not done after 0\.5 s .*run it again") as caught:
        effort.persistently(URI, never)
    assert never.calls == []
    assert caught.value.uri == URI
    with pytest.raises(StorageUnavailable, match="not done after"):
        effort.moved(1, URI)


def test_no_deadline() -> None:
    effort = Effort(Options(deadline_seconds=0))
    assert effort.persistently(URI, Flaky(0)) == "done"
    effort.moved(1, URI)


def test_the_bandwidth_is_shared_by_all_threads() -> None:
    effort, started = Effort(Options(limit_mib_per_second=8)), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: effort.moved(MIB // 4, URI), range(32)))
    seconds = time.monotonic() - started
    assert 0.9 < seconds < 1.6, "8 MiB at 8 MiB/s"
    assert effort.moved_bytes == 8 * MIB


def test_time_not_used_is_not_saved_up() -> None:
    effort = Effort(Options(limit_mib_per_second=4))
    effort.moved(MIB, URI)
    time.sleep(1)
    started = time.monotonic()
    effort.moved(2 * MIB, URI)
    assert 0.4 < time.monotonic() - started < 0.9


def test_without_a_limit_nothing_waits() -> None:
    effort, started = Effort(), time.monotonic()
    for _ in range(1000):
        effort.moved(1 << 40, URI)
    assert time.monotonic() - started < 1


def test_progress_counts_every_byte_once() -> None:
    told: list[tuple[int, int]] = []
    effort = Effort(Options(progress=lambda done, total: told.append((done, total))))
    effort.total_bytes = 100
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(effort.advance, [1] * 100))
    effort.advance(-40)
    effort.advance(40)
    assert sorted(done for done, _ in told[:100]) == list(range(1, 101))
    assert told[100:] == [(60, 100), (100, 100)]


def test_workers() -> None:
    running, most, done, lock = 0, 0, set[int](), threading.Lock()

    def work(item: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
            done.add(item)

    Effort(Options(workers=4)).each(work, range(40))
    assert most == 4
    assert done == set(range(40))


def test_the_first_error_ends_the_work() -> None:
    begun, stopped = [], []
    effort = Effort(Options(workers=2))

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise AccessDenied("no", URI)
        time.sleep(0.5 if item > 3 else 0.01)
        try:
            effort.moved(1, URI)
        except StorageError as error:
            stopped.append(str(error))
            raise

    with pytest.raises(AccessDenied):
        effort.each(work, range(1000))
    assert max(begun) < 10
    assert set(stopped) == {f"{URI}: stopped, as another part of the work failed"}
    effort.each(begun.append, [-1])
    assert begun[-1] == -1


def test_once_more_when_the_bytes_were_wrong(caplog: pytest.LogCaptureFixture) -> None:
    once = Flaky(1, IntegrityError("damaged", URI))
    assert Effort().twice(once) == "done"
    assert "damaged; reading it once more" in caplog.text
    twice = Flaky(2, IntegrityError("damaged", URI))
    with pytest.raises(IntegrityError):
        Effort().twice(twice)
    assert len(twice.calls) == 2
