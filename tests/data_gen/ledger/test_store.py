"""The ledger: one row a key, nothing committed is lost, an interrupted run ends like an unbroken one."""

import asyncio
import json
import math
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from data_gen.ledger.export import exported_draws
from data_gen.ledger.file import LedgerError
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger, has_draws
from data_gen.ledger.verification import find_faults
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.chats import Message
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution
from data_gen.records.verdicts import unknown
from data_gen.sample import main as sample_command
from data_gen.sampling.solutions import draw_solutions
from data_gen.settings.errors import InputError

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


class ChatPolicy(SimulatedPolicy):
    """Reads a chat as the question with the attempts in front of it."""

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        attempts = "".join(f"{each.content}; " for each in messages if each.role == "assistant")
        return self.encode_prompt(attempts + PROBLEM.question)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        return Completion((65, 256), "A", (0.0, 0.0), FinishReason.EOS, Usage(2))


def test_a_chat_with_earlier_attempts_is_a_prompt_of_its_own(tmp_path: Path):
    chat = (Message("user", "?"), Message("assistant", "Answer: 3"), Message("user", "?"))
    step = tuple(b"3 fold 4=9 1\n")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(ChatPolicy(), ledger, PROBLEM)
        prompt, revision = recorded.encode_prompt(PROBLEM.question), recorded.encode_chat(chat)
        for prefix in (prompt, revision, prompt + step, revision + step):
            asyncio.run(recorded.sample(prefix, PARAMS, 0))
        with pytest.raises(
            InputError, match="SimulatedPolicy reads questions alone; expected one that reads"
        ):
            LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM).encode_chat(chat)
    rows = {tuple(row["prefix_ids"]): row["parent_hash"] for row in exported_draws(tmp_path / "l.sqlite")}
    assert rows == {
        prompt: None,
        revision: None,
        prompt + step: prefix_hash(prompt).hex(),
        revision + step: prefix_hash(revision).hex(),
    }
    assert list(find_faults(tmp_path / "l.sqlite")) == []


def test_index_params_and_seed_are_part_of_the_key(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for index, params in (
            (0, PARAMS),
            (1, PARAMS),
            (0, SamplingParams(200, 0.5)),
            (0, SamplingParams(200, 1.0, "\n")),
        ):
            draw(recorded, index, params)
        draw(LedgerPolicy(SimulatedPolicy(base_seed=1), ledger, PROBLEM), 0)
        assert ledger.n_draws() == 5


def test_params_that_leave_out_nothing_have_the_hash_of_older_ledgers():
    assert SamplingParams(256).params_hash == "4c80497917b5fa9ca22ef46fa373cf25"
    assert SamplingParams(8, 0.7, "\n\n", 1.0, 0, 0.0, ()).params_hash == "93327dadf4690e3b2e87baf1f1dc7e07"
    greedy = SamplingParams(8, 0.0)
    # The same draws
    assert SamplingParams(8, 0.0, top_p=0.5, top_k=3, min_p=0.1).params_hash == greedy.params_hash
    assert (
        SamplingParams(8, stop_strings=("a", "b")).params_hash
        == SamplingParams(8, stop_strings=("b", "a")).params_hash
    )
    different = [
        SamplingParams(8),
        SamplingParams(8, top_p=0.5),
        SamplingParams(8, top_k=5),
        SamplingParams(8, min_p=0.5),
        SamplingParams(8, stop_strings=("a",)),
        SamplingParams(8, stop="a"),
        SamplingParams(8, 0.0, stop_strings=("a",)),
        greedy,
    ]
    assert len({params.params_hash for params in different}) == 8


def test_restricted_draws_are_stored_with_what_restricted_them(tmp_path: Path):
    path, restricted = tmp_path / "l.sqlite", SamplingParams(200, 0.5, top_p=0.9, stop_strings=("Q:",))
    with Ledger(path) as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for params in (PARAMS, restricted):
            draw(recorded, 0, params)
        stored = [json.loads(str(row[2])) for row in ledger.contents() if row[0] == "params"]
    plain = {"max_new_tokens": 200, "temperature": 1.0, "stop": None}
    more = {
        "max_new_tokens": 200,
        "temperature": 0.5,
        "stop": None,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.0,
        "stop_strings": ["Q:"],
    }
    assert sorted(stored, key=len) == [plain, more]
    assert list(find_faults(path)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("top_k", -1),
        ("min_p", 1.0),
        ("min_p", -0.1),
        ("min_p", math.nan),
    ],
)
def test_params_out_of_range_are_refused(setting: str, value: float):
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ValueError, match=f"{setting}: got {value}, expected"):
        SamplingParams(8, **settings)


def test_tasks_that_want_the_same_draw_share_one(tmp_path: Path):
    policy = CountingPolicy()

    async def ask(ledger: Ledger) -> list[Completion]:
        prompt = policy.encode_prompt(PROBLEM.question)
        return list(
            await asyncio.gather(
                *(LedgerPolicy(policy, ledger, PROBLEM).sample(prompt, PARAMS, 0) for _ in range(5))
            )
        )

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


def fill_disk_after(ledger: Ledger, n_pages: int) -> None:
    """From here on the file may grow by so many pages: a draw that does not fit is a full disk."""
    (n_now,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {n_now + n_pages}")


def fill(path: Path) -> None:
    with Ledger(path) as ledger:
        fill_disk_after(ledger, n_pages=4)
        draw_many(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 2000)


def draw_many(policy: LedgerPolicy, n: int) -> None:
    for index in range(n):
        draw(policy, index)


def test_a_full_disk_is_said_and_what_was_committed_stays(tmp_path: Path):
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        kept = draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0)
        ledger.commit()
    with pytest.raises(LedgerError, match=r"l\.sqlite: database or disk is full.*run the same command again"):
        fill(path)
    with Ledger(path) as ledger:
        assert draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0) == kept


def test_after_a_disk_that_was_full_the_ledger_is_sound_at_once_and_after_the_rerun(
    small_disk: Path, tmp_path: Path
):
    def sample(run: Path) -> None:
        sample_command(
            ["--output", str(run), "--problems.n", "450", "--policy.model", "simulated", "--n_samples", "2"]
        )

    with pytest.raises(LedgerError, match=r"disk is full; the last .* draws are not stored"):
        sample(small_disk / "run")
    assert list(find_faults(small_disk / "run" / "ledger.sqlite")) == []
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    sample(small_disk / "run")
    sample(tmp_path / "whole")
    assert list(find_faults(small_disk / "run" / "ledger.sqlite")) == []
    runs = [
        Ledger(folder / "ledger.sqlite", read_only=True)
        for folder in (small_disk / "run", tmp_path / "whole")
    ]
    assert list(runs[0].contents()) == list(runs[1].contents())
    for ledger in runs:
        ledger.close()


@pytest.mark.parametrize("has_a_page", [False, True])
def test_a_file_whose_disk_was_full_before_it_had_tables_becomes_a_ledger(tmp_path: Path, has_a_page: bool):
    path = tmp_path / "l.sqlite"
    path.touch()
    if has_a_page:  # as `open_for_writing` leaves it where there is room for one
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    assert bool(path.stat().st_size) == has_a_page
    assert not has_draws(path)
    with pytest.raises(LedgerError, match=r"l\.sqlite: an empty file; expected a ledger"):
        list(find_faults(path))
    with Ledger(path) as ledger:
        draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0)
    assert has_draws(path)
    path.write_bytes(b"no ledger")
    with pytest.raises(LedgerError, match="not a readable ledger"):
        has_draws(path)


def test_nothing_is_written_after_a_write_that_failed(tmp_path: Path):
    """The failure takes the whole of what was pending along: draws that other tasks add would name a prefix
    that is no longer there.
    """
    ledger = Ledger(tmp_path / "l.sqlite")
    tasks = [
        LedgerPolicy(SimulatedPolicy(), ledger, problem)
        for problem in (PROBLEM, Problem("p2", "Start with 5: fold 4.", "9"))
    ]
    draw(tasks[1], 0)
    fill_disk_after(ledger, n_pages=4)
    with pytest.raises(LedgerError, match="disk is full"):
        draw_many(tasks[0], 400)
    ledger._db.execute("PRAGMA max_page_count = 1000")
    for task in tasks:
        with pytest.raises(LedgerError, match="disk is full"):
            draw(task, 1000)
    with pytest.raises(LedgerError, match="disk is full"):
        ledger.commit()
    ledger.close()
    with Ledger(tmp_path / "l.sqlite", read_only=True) as reader:
        assert list(reader.contents()) == []


def test_a_run_that_goes_on_stores_the_names_that_an_older_version_lost(tmp_path: Path):
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        kept = draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0)
    with sqlite3.connect(path) as database:
        whole = (
            database.execute("SELECT * FROM prefixes").fetchall(),
            database.execute("SELECT * FROM params").fetchall(),
        )
        database.executescript("DELETE FROM prefixes; DELETE FROM params")
    database.close()
    assert [fault.kind for fault in find_faults(path)] == [
        "a draw without its prefix",
        "a draw without its params",
    ]
    with Ledger(path) as ledger:
        assert draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 0) == kept
    assert list(find_faults(path)) == []
    with sqlite3.connect(path) as database:
        assert (
            database.execute("SELECT * FROM prefixes").fetchall(),
            database.execute("SELECT * FROM params").fetchall(),
        ) == whole
    database.close()


@pytest.mark.parametrize(
    ("token_id", "logprob", "fault"),
    [
        (8, -1e39, r"a log-probability is -1e\+39; expected"),
        (8, -float("inf"), "a log-probability is -inf; expected"),
        (2**31, -0.5, "a token id is 2147483648; expected"),
    ],
)
def test_what_four_bytes_cannot_hold_is_refused(tmp_path: Path, token_id: int, logprob: float, fault: str):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        key = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM).key((1, 2), PARAMS, 0)

        def add(token_id: int, logprob: float) -> None:
            made = Completion((7, token_id), "x", (-0.5, logprob), FinishReason.EOS)
            ledger.add(key, "p1", (1, 2), None, PARAMS, made)

        with pytest.raises(LedgerError, match=rf"l\.sqlite: draw 0 for problem p1: {fault}"):
            add(token_id, logprob)
        add(2**31 - 1, -3.4e38)


def test_a_verdict_is_kept_for_its_grader_and_gold_answer(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        key = recorded.key(recorded.encode_prompt(PROBLEM.question), PARAMS, 0)
        draw(recorded, 0)
        solution = Solution("p1", 0, "Answer: 4 1")
        assert not asyncio.run(recorded.grade(ArithmeticGrader(), key, solution)).verdict.is_correct
        assert asyncio.run(
            recorded.grade(ArithmeticGrader(last_value_only=True), key, solution)
        ).verdict.is_correct
        assert not asyncio.run(recorded.grade(ArithmeticGrader(), key, solution)).verdict.is_correct
        ledger.commit()
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        rows = db.execute(
            "SELECT grader_version, kind, answer FROM verdicts ORDER BY grader_version"
        ).fetchall()
    assert rows == [("arithmetic-1", "incorrect", "4 1"), ("arithmetic-last-value-1", "correct", "4 1")]


class SlowGrader:
    grader_version = "slow-1"

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        return GradedSolution(solution, "9 1", unknown("timeout"))

    def read_answer(self, question: Question, solution: Solution) -> str:
        return "9 1"

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return one == other


def test_a_time_out_is_not_kept_as_a_verdict(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        key = recorded.key(recorded.encode_prompt(PROBLEM.question), PARAMS, 0)
        assert asyncio.run(
            recorded.grade(SlowGrader(), key, Solution("p1", 0, "Answer: 9 1"))
        ).verdict == unknown("timeout")
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        assert db.execute("SELECT count(*) FROM verdicts").fetchone() == (0,)


class WaitingGrader(ArithmeticGrader):
    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        await asyncio.sleep(0.01)
        return await super().grade(problem, solution)


def test_tasks_that_grade_the_same_draw_at_once_agree_on_one_verdict(tmp_path: Path):
    async def grade_twice(ledger: Ledger) -> list[tuple[GradedSolution, ...]]:
        rollouts = [LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM) for _ in range(2)]
        return await asyncio.gather(
            *(draw_solutions(policy, WaitingGrader(), PARAMS, range(3)) for policy in rollouts)
        )

    with Ledger(tmp_path / "l.sqlite") as ledger:
        first, second = asyncio.run(grade_twice(ledger))
        assert first == second
        assert sum(row[0] == "verdicts" for row in ledger.contents()) == 3


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


def test_a_commit_by_the_clock_that_fails_is_said_by_the_next_call_and_at_the_end(tmp_path: Path):
    async def draw_and_wait(ledger: Ledger) -> None:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for index in range(300):
            await recorded.sample(recorded.encode_prompt(PROBLEM.question), PARAMS, index)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
        try:
            await asyncio.sleep(0.7)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def whole_run() -> None:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            asyncio.run(draw_and_wait(ledger))
            with pytest.raises(LedgerError, match=r"the last 300 draws are not stored"):
                draw(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), 300)

    with pytest.raises(LedgerError, match=r"I/O error; the last 300 draws are not stored"):
        whole_run()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.n_draws() == 0


def test_what_the_ledger_remembers_of_streams_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_gen.ledger.streams.N_STREAMS_IN_MEMORY", 3)
    policy = CountingPolicy()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for _ in range(2):  # the second time, streams that were forgotten are found on disk
            for start in range(10):
                problem = Problem(f"p{start}", f"Start with {start}: fold 4, times 9.", "9 1")
                recorded = LedgerPolicy(policy, ledger, problem)
                asyncio.run(recorded.sample(recorded.encode_prompt(problem.question), PARAMS, 0))
        assert ledger.n_draws() == 10
        assert len(ledger._streams) == 3
    assert policy.n_calls == 10


def test_grading_anew_draws_nothing(tmp_path: Path):
    policy = CountingPolicy()

    def grade_twenty(problem: Problem, grader: ArithmeticGrader) -> int:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            graded = asyncio.run(
                draw_solutions(LedgerPolicy(policy, ledger, problem), grader, PARAMS, range(20))
            )
        return sum(each.verdict.is_correct for each in graded)

    n_right = grade_twenty(PROBLEM, ArithmeticGrader())
    assert policy.n_calls == 20
    last_value_only = grade_twenty(PROBLEM, ArithmeticGrader(last_value_only=True))
    assert grade_twenty(Problem("p1", PROBLEM.question, "the gold answer was wrong"), ArithmeticGrader()) == 0
    assert grade_twenty(PROBLEM, ArithmeticGrader()) == n_right <= last_value_only
    assert policy.n_calls == 20
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        counts = db.execute(
            "SELECT grader_version, gold_hash, count(*) FROM verdicts GROUP BY 1, 2 ORDER BY 1, 3"
        ).fetchall()
    assert [(version, n) for version, _, n in counts] == [
        ("arithmetic-1", 20),
        ("arithmetic-1", 20),
        ("arithmetic-last-value-1", 20),
    ]
    assert len({gold_hash for _, gold_hash, _ in counts}) == 2


READER = """
import sys, time
from pathlib import Path
from data_gen.ledger.store import Ledger, open_for_reading
path, seen, deadline = Path(sys.argv[1]), [], time.monotonic() + 20
while not path.exists():
    time.sleep(0.01)
print("ready", flush=True)
while time.monotonic() < deadline and (not seen or seen[-1] < 600):
    db = open_for_reading(path)
    db.execute("BEGIN")  # one moment of the ledger
    n = db.execute("SELECT count(*) FROM draws").fetchone()[0]
    orphans = db.execute("SELECT count(*) FROM draws WHERE prefix_hash NOT IN (SELECT hash FROM prefixes)").fetchone()[0]
    assert not orphans, orphans
    seen += [n] if n not in seen[-1:] else []
    db.close()
print(*seen)
"""  # noqa: E501


def test_a_second_process_reads_while_the_first_one_writes(tmp_path: Path):
    path = tmp_path / "l.sqlite"
    with (
        Ledger(path) as ledger,
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True
        ) as reader,
    ):
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        for index in range(600):
            draw(recorded, index)
            if index % 20 == 19:
                ledger.commit()
                time.sleep(0.02)
        seen = [int(word) for word in reader.stdout.read().split()]
    assert reader.returncode == 0
    assert seen == sorted(seen)  # what was read once is there for ever
    assert seen[-1] == 600
    assert len(seen) >= 3, "the reader never saw the ledger grow"


def test_files_that_are_no_ledger_are_refused(tmp_path: Path):
    with pytest.raises(LedgerError, match="no such file; expected a ledger"):
        Ledger(tmp_path / "none.sqlite", read_only=True)
    (tmp_path / "text.sqlite").write_text("not a database " * 100)
    with pytest.raises(LedgerError, match=r"text\.sqlite: not a readable ledger: file is not a database"):
        Ledger(tmp_path / "text.sqlite", read_only=True)
    with sqlite3.connect(tmp_path / "old.sqlite") as db:
        db.execute("CREATE TABLE draws (x)")
    with pytest.raises(LedgerError, match=r"old\.sqlite: ledger of layout 0, expected 5"):
        Ledger(tmp_path / "old.sqlite")
