"""What waits is one batch; nothing that one request does reaches another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shipway.serving.openinference.batching import Batcher, Busy


class Engine:
    """Doubles its numbers and remembers its batches; a negative number is an error."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.batches, self.threads = seconds, [], set()

    def __call__(self, tensors: Any) -> Any:
        numbers = tensors["number"]
        self.batches.append(len(numbers))
        self.threads.add(threading.current_thread())
        time.sleep(self.seconds)
        if (numbers < 0).any():
            raise ValueError("a negative number")
        return np.stack([numbers * 2, numbers], 1), numbers.astype(str).astype(object)


def asked(batcher: Batcher, *numbers: float) -> asyncio.Future[Any]:
    return batcher.submit({"number": np.array(numbers, np.float32)}, len(numbers))


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_what_waits_is_one_batch_and_each_gets_its_own_rows() -> None:
    engine = Engine()

    async def test() -> None:
        batcher = Batcher(engine)
        answers = await asyncio.gather(asked(batcher, 1), asked(batcher, 2, 3), asked(batcher, 4))
        assert [scores[:, 0].tolist() for scores, _ in answers] == [[2], [4, 6], [8]]
        assert [labels.tolist() for _, labels in answers] == [["1.0"], ["2.0", "3.0"], ["4.0"]]
        assert batcher.waiting_rows == 0

    run(test)
    assert engine.batches == [4]


@pytest.mark.parametrize(("most_rows", "batches"), [(3, [3, 1, 5]), (1, [1, 2, 1, 5])])
def test_a_batch_has_no_more_rows_than_it_may_unless_one_request_has(most_rows: int, batches: list[int]) -> None:
    engine = Engine()

    async def test() -> None:
        batcher = Batcher(engine, most_rows=most_rows)
        await asyncio.gather(asked(batcher, 1), asked(batcher, 2, 3), asked(batcher, 4), asked(batcher, 5, 6, 7, 8, 9))

    run(test)
    assert engine.batches == batches


def test_a_slow_model_runs_beside_the_event_loop_which_gathers_meanwhile() -> None:
    engine = Engine(0.05)

    async def test() -> None:
        batcher = Batcher(engine)
        await asked(batcher, 0)  # how long it takes is known from now on
        first = asked(batcher, 1)
        await asyncio.sleep(0.01)
        later = [asked(batcher, number) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        assert not first.done()
        for number, answer in enumerate([first, *later], 1):
            scores, _ = await answer
            assert scores[0, 0] == 2 * number

    run(test)
    assert engine.batches == [1, 1, 3]
    assert len(engine.threads) == 2


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_an_error_is_told_to_the_request_that_made_it_alone(seconds: float) -> None:
    engine = Engine(seconds)

    async def test() -> None:
        batcher = Batcher(engine)
        await asked(batcher, 0)
        good, bad, other = await asyncio.gather(
            asked(batcher, 1), asked(batcher, -1), asked(batcher, 3), return_exceptions=True
        )
        assert isinstance(bad, ValueError)
        assert (good[0][0, 0], other[0][0, 0]) == (2, 6)
        scores, _ = await asked(batcher, 5)
        assert scores[0, 0] == 10

    run(test)


def test_more_than_may_wait_is_refused_and_what_waits_is_answered() -> None:
    async def test() -> None:
        batcher = Batcher(Engine(0.02), most_waiting_rows=4)
        await asked(batcher, 0)
        running = asked(batcher, 1)
        await asyncio.sleep(0.005)
        waiting = asked(batcher, 2, 3, 4)
        with pytest.raises(Busy, match="3 rows wait already; try again in 1 s") as refused:
            asked(batcher, 5, 6)
        assert refused.value.retry_after_seconds == 1
        assert (await running)[0][0, 0] == 2
        assert (await waiting)[0][:, 0].tolist() == [4, 6, 8]
        assert (await asked(batcher, 7, 8, 9, 10, 11))[0][:, 0].tolist() == [
            14,
            16,
            18,
            20,
            22,
        ]  # alone it may be large

    run(test)


def test_a_request_that_nobody_waits_for_is_left_out() -> None:
    engine = Engine()

    async def test() -> None:
        batcher = Batcher(engine)
        gone, stays = asked(batcher, -1), asked(batcher, 2)
        gone.cancel()
        assert (await stays)[0][0, 0] == 4
        assert batcher.waiting_rows == 0

    run(test)
    assert engine.batches == [1]


def test_a_quick_model_that_was_held_up_once_still_runs_in_the_event_loop() -> None:
    engine = Engine()

    async def test() -> None:
        batcher = Batcher(engine)
        await asked(batcher, 0)
        engine.seconds = 0.2
        await asked(batcher, 1)
        engine.seconds = 0.0
        assert batcher.is_quick
        for _ in range(20):
            engine.seconds = 0.002
            await asked(batcher, 2)
        assert not batcher.is_quick

    run(test)
