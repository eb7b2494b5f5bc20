"""The ledger: one row a key, nothing committed is lost, an interrupted run ends like an unbroken one."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from data_gen.grading import ArithmeticGrader
from data_gen.ledger import Ledger, LedgerError, LedgerPolicy
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records import Completion, FinishReason, GradedSolution, Problem, SamplingParams, Solution, Usage, unknown

PROBLEM = Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
PARAMS = SamplingParams(max_new_tokens=200)


class CountingPolicy(SimulatedPolicy):
    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_calls += 1
        await asyncio.sleep(0)
        return await super().sample(prefix_ids, params, index)


def draw(policy: LedgerPolicy, index: int, params: SamplingParams = PARAMS) -> Completion:
    return asyncio.run(policy.sample(policy.encode_prompt(PROBLEM.question), params, index))


def test_a_stored_draw_is_returned_as_it_was_and_not_made_again(tmp_path: Path):
    policy = CountingPolicy()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        first = draw(LedgerPolicy(policy, ledger, PROBLEM), 0)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert draw(LedgerPolicy(policy, ledger, PROBLEM), 0) == first
        assert ledger.n_draws() == 1
    assert policy.n_calls == 1


def test_index_params_and_seed_are_part_of_the_key(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for index, params in ((0, PARAMS), (1, PARAMS), (0, SamplingParams(200, 0.5)), (0, SamplingParams(200, 1.0, "\n"))):
            draw(recorded, index, params)
        draw(LedgerPolicy(SimulatedPolicy(base_seed=1), ledger, PROBLEM), 0)
        assert ledger.n_draws() == 5


def test_tasks_that_want_the_same_draw_share_one(tmp_path: Path):
    policy = CountingPolicy()

    async def ask(ledger: Ledger) -> list[Completion]:
        prompt = policy.encode_prompt(PROBLEM.question)
        return list(await asyncio.gather(*(LedgerPolicy(policy, ledger, PROBLEM).sample(prompt, PARAMS, 0) for _ in range(5))))

    with Ledger(tmp_path / "l.sqlite") as ledger:
        draws = asyncio.run(ask(ledger))
    assert len(set(draws)) == 1
    assert policy.n_calls == 1


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0)
        ledger.commit()
        with pytest.raises(LedgerError, match="another process is writing"):
            Ledger(tmp_path / "l.sqlite")
        with Ledger(tmp_path / "l.sqlite", read_only=True) as reader:
            assert reader.n_draws() == 1


def test_a_key_is_never_written_twice(tmp_path: Path):
    completion = Completion((7,), "x", (-0.5,), FinishReason.EOS, Usage(n_generated=1))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        key = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM).key((1, 2), PARAMS, 0)
        ledger.add(key, "p1", (1, 2), None, PARAMS, completion)
        with pytest.raises(LedgerError, match="UNIQUE"):
            ledger.add(key, "p1", (1, 2), None, PARAMS, completion)
        assert ledger.find(key) == completion


def fill(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.limit_size(ledger.n_pages() + 4)
        for index in range(1, 2000):
            draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), index)


def test_a_full_disk_is_said_and_what_was_committed_stays(tmp_path: Path):
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        kept = draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0)
        ledger.commit()
    with pytest.raises(LedgerError, match=r"l\.sqlite: database or disk is full.*run the same command again"):
        fill(path)
    with Ledger(path) as ledger:
        assert draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0) == kept


def test_a_verdict_is_kept_for_its_grader_and_gold_answer(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        key = recorded.key(recorded.encode_prompt(PROBLEM.question), PARAMS, 0)
        solution = Solution("p1", 0, "Answer: 4 1")
        assert not asyncio.run(recorded.grade(ArithmeticGrader(), key, solution)).verdict.is_correct
        assert asyncio.run(recorded.grade(ArithmeticGrader(last_value_only=True), key, solution)).verdict.is_correct
        assert not asyncio.run(recorded.grade(ArithmeticGrader(), key, solution)).verdict.is_correct
        ledger.commit()
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        rows = db.execute("SELECT grader_version, kind, answer FROM verdicts ORDER BY grader_version").fetchall()
    assert rows == [("arithmetic-1", "incorrect", "4 1"), ("arithmetic-last-value-1", "correct", "4 1")]


class SlowGrader:
    grader_version = "slow-1"

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        return GradedSolution(solution, "9 1", unknown("timeout"))


def test_a_time_out_is_not_kept_as_a_verdict(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        key = recorded.key(recorded.encode_prompt(PROBLEM.question), PARAMS, 0)
        assert asyncio.run(recorded.grade(SlowGrader(), key, Solution("p1", 0, "Answer: 9 1"))).verdict == unknown("timeout")
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        assert db.execute("SELECT count(*) FROM verdicts").fetchone() == (0,)


def test_draws_are_committed_by_the_clock_without_another_draw(tmp_path: Path):
    async def draw_and_wait(ledger: Ledger) -> int:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for index in range(3):
            await recorded.sample(recorded.encode_prompt(PROBLEM.question), PARAMS, index)
        await asyncio.sleep(1.0)  # twice the promise
        with Ledger(tmp_path / "l.sqlite", read_only=True) as reader:
            return reader.n_draws()

    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert asyncio.run(draw_and_wait(ledger)) == 3
