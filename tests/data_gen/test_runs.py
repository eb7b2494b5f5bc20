import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.records import Problem
from data_gen.runs import claim_models, claim_run, count_lines, for_each, read_records, records_in_order, work_through, write_records

PROBLEMS = [Problem(f"p{i}", f"What is {i}?", str(i)) for i in range(5)]


def test_records_that_come_in_any_order_are_written_in_the_order_of_their_groups(tmp_path: Path):
    write_records(tmp_path / "expected.jsonl", Problem, PROBLEMS)
    with records_in_order(tmp_path / "problems.jsonl", Problem) as add:
        add(3, PROBLEMS[3:5])
        add(0, PROBLEMS[:1])
        add(2, [])  # a problem without a record
        add(1, PROBLEMS[1:3])
    assert (tmp_path / "problems.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    assert count_lines(tmp_path / "problems.jsonl") == 5


def test_a_file_of_records_is_left_as_it_was_when_something_fails(tmp_path: Path):
    path = tmp_path / "problems.jsonl"
    write_records(path, Problem, PROBLEMS[:1])

    def write_half() -> None:
        with records_in_order(path, Problem) as add:
            add(0, PROBLEMS)
            raise RuntimeError("the policy went away")

    with pytest.raises(RuntimeError, match="the policy went away"):
        write_half()
    assert list(read_records(path, Problem)) == PROBLEMS[:1]
    assert sorted(tmp_path.iterdir()) == [path]


def test_no_more_items_are_open_than_there_are_places_and_items_are_read_as_places_get_free():
    n_open, most_open, n_read, farthest = 0, 0, 0, 0

    def items():
        nonlocal n_read
        for item in range(100):
            n_read += 1
            yield item

    async def work(item: int) -> int:
        nonlocal n_open, most_open
        n_open += 1
        most_open = max(most_open, n_open)
        await asyncio.sleep(0)
        n_open -= 1
        return item * item

    taken: dict[int, int] = {}

    def take(number: int, result: int) -> None:
        nonlocal farthest
        taken[number] = result
        farthest = max(farthest, n_read - len(taken))

    asyncio.run(work_through(items(), work, take, n_open=7))
    assert taken == {number: number * number for number in range(100)}
    assert most_open == 7
    assert farthest < 7  # items read ahead of those that are done


def test_a_slow_item_holds_up_no_other():
    finished: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            while len(finished) < 999:  # until all others are done
                await asyncio.sleep(0)
        return item

    asyncio.run(work_through(range(1000), work, lambda number, result: finished.append(number), n_open=4))
    assert finished[-1] == 0
    assert sorted(finished) == list(range(1000))


def test_work_that_never_waits_leaves_the_event_loop_its_turns():
    clock: list[float] = []

    async def work(item: int) -> None:
        time.sleep(0.001)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, lambda: clock.append(time.monotonic()))
        await work_through(range(100), work, lambda number, result: None, n_open=2)
        assert clock, "a timer that was due after ten of the hundred items did not run while they were worked on"

    asyncio.run(main())


def test_the_first_failure_ends_the_others_and_is_raised_as_it_is():
    async def work(item: int) -> int:
        if item == 3:
            raise InputError("item 3 cannot be used")
        await asyncio.sleep(0 if item < 3 else 3600)
        return item

    with pytest.raises(InputError, match="item 3 cannot be used"):
        asyncio.run(work_through(range(10), work, lambda number, result: None))


def test_for_each_gives_results_in_the_order_of_the_items():
    async def work(item: int) -> int:
        for _ in range(10 - item):
            await asyncio.sleep(0)
        return 2 * item

    assert asyncio.run(for_each(range(10), work, what="test", unit="numbers")) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


@dataclass(frozen=True)
class RunConfig:
    n: int = 4
    new_setting: bool = False


def test_a_run_may_be_continued_by_a_program_that_knows_a_setting_more(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"n": 4}')
    claim_run(tmp_path, RunConfig(n=4))
    with pytest.raises(InputError, match=r"another configuration: new_setting is False, got True"):
        claim_run(tmp_path, RunConfig(n=4, new_setting=True))


def test_a_folder_of_another_command_is_left_alone(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"loss": "bce"}')
    with pytest.raises(
        InputError,
        match=r"config\.json: this folder holds a run of another command or another version \(unknown key loss .*choose another output",
    ):
        claim_run(tmp_path, RunConfig(n=4))


def test_a_run_belongs_to_the_models_that_began_it(tmp_path: Path):
    claim_models(tmp_path, {"policy": "abc"})
    claim_models(tmp_path, {"policy": "abc"})
    with pytest.raises(InputError, match=r"models.json: the policy of this run was abc, got def: other weights"):
        claim_models(tmp_path, {"policy": "def"})
    assert json.loads((tmp_path / "models.json").read_text()) == {"policy": "abc"}
