import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data_gen.files.run_folder import (
    count_lines,
    for_each,
    read_records,
    records_in_order,
    work_through,
    write_records,
)
from data_gen.files.run_identity import check_models, check_run, claim_run
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError

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
        assert clock, (
            "a timer that was due after ten of the hundred items did not run while they were worked on"
        )

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

    assert asyncio.run(for_each(range(10), work, what="test", unit="numbers")) == [
        0,
        2,
        4,
        6,
        8,
        10,
        12,
        14,
        16,
        18,
    ]


@dataclass(frozen=True)
class RunConfig:
    n: int = 4
    new_setting: bool = False


def test_a_run_may_be_continued_by_a_program_that_knows_a_setting_more(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"n": 4}')
    claim_run(tmp_path, RunConfig(n=4))
    with pytest.raises(InputError, match=r"another configuration: new_setting is False, got True"):
        claim_run(tmp_path, RunConfig(n=4, new_setting=True))


@dataclass(frozen=True)
class ModelSettings:
    model: str = "a"
    max_rows: int = field(default=4, metadata={"is_execution": True})


@dataclass(frozen=True)
class NestedConfig:
    output: Path = field(metadata={"is_execution": True})
    model: ModelSettings | None = None
    n: int = field(default=1, metadata={"may_grow": True})


def test_the_one_setting_that_differs_is_named_with_its_place_and_shortened(tmp_path: Path):
    claim_run(tmp_path, NestedConfig(tmp_path, ModelSettings("start " * 30 + "old" + " end" * 30), 3))
    with pytest.raises(InputError) as caught:
        claim_run(tmp_path, NestedConfig(tmp_path, ModelSettings("start " * 30 + "new" + " end" * 30), 3))
    [told] = re.findall(r"another configuration: (.*?); choose", str(caught.value))
    assert told.startswith("model.model is '…") or told.startswith("model.model is …")
    assert "old end" in told
    assert "new end" in told
    assert len(told) < 160
    with pytest.raises(InputError, match=r"model is \{'model': 'start .*…, got None"):
        claim_run(tmp_path, NestedConfig(tmp_path, None, 3))


def test_settings_of_execution_may_change_and_the_latest_are_kept(tmp_path: Path):
    claim_run(tmp_path, NestedConfig(tmp_path, ModelSettings(max_rows=4), 3))
    claim_run(tmp_path, NestedConfig(tmp_path / "elsewhere" / "..", ModelSettings(max_rows=2), 5))
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model"] == {"model": "a", "max_rows": 2}
    assert stored["n"] == 5
    with pytest.raises(InputError, match=r"n is 5, got 4 \(it may grow\)"):
        claim_run(tmp_path, NestedConfig(tmp_path, ModelSettings(), 4))


def test_a_folder_in_which_nothing_was_made_belongs_to_nobody(tmp_path: Path):
    claim_run(tmp_path, RunConfig(n=4), {"policy": "abc"})
    claim_run(tmp_path, RunConfig(n=5), {"policy": "def"}, is_begun=False)
    assert json.loads((tmp_path / "config.json").read_text())["n"] == 5
    assert json.loads((tmp_path / "models.json").read_text()) == {"policy": "def"}


def test_a_check_of_a_run_leaves_nothing(tmp_path: Path):
    check_run(tmp_path / "a" / "b", RunConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/x"), tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"^output .*: cannot be written there \("):
            check_run(folder, RunConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_that_no_run_wrote_are_not_overwritten(tmp_path: Path):
    (tmp_path / "problems.jsonl").write_text("my own problems")
    with pytest.raises(InputError, match=r"holds problems.jsonl and no run, which would overwrite it"):
        claim_run(tmp_path, RunConfig(), is_begun=False)


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "[" * 100_000, '{"policy": "abc"'])
def test_a_damaged_record_of_the_models_is_told(tmp_path: Path, text: str):
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(InputError, match=r"models.json: is damaged"):
        check_models(tmp_path, {"policy": "abc"})


def test_a_folder_of_another_command_is_left_alone(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"loss": "bce"}')
    with pytest.raises(
        InputError,
        match=r"config\.json: this folder holds a run of another command or another version \(unknown key "
        r"loss .*choose another output",
    ):
        claim_run(tmp_path, RunConfig(n=4))


def test_a_run_belongs_to_the_models_that_began_it(tmp_path: Path):
    claim_run(tmp_path, RunConfig(), {"policy": "abc"})
    claim_run(tmp_path, RunConfig(), {"policy": "abc"})
    with pytest.raises(
        InputError, match=r"models.json: the policy of this run was abc, got def: other weights"
    ):
        claim_run(tmp_path, RunConfig(), {"policy": "def"})
    assert json.loads((tmp_path / "models.json").read_text()) == {"policy": "abc"}
