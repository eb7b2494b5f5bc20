"""Ledgers are merged without double counting, conflicts are refused by name, and a merge happens whole or not
at all.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen.ledger.file import LedgerError
from data_gen.ledger.merge import MergedShard, merge_ledgers
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.draw_keys import pack
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from data_gen.sampling.solutions import draw_solutions

PROBLEM = Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
OTHER = Problem("p2", "Start with 5: fold 4, times 9.", "9 1")
PARAMS = SamplingParams(max_new_tokens=200)


def write_ledger(path: Path, problem: Problem, indices: range) -> Path:
    with Ledger(path) as ledger:
        asyncio.run(
            draw_solutions(
                LedgerPolicy(SimulatedPolicy(), ledger, problem), ArithmeticGrader(), PARAMS, indices
            )
        )
    return path


def contents(path: Path) -> list[tuple[object, ...]]:
    with Ledger(path, read_only=True) as ledger:
        return list(ledger.contents())


def change(path: Path, sql: str, *values: bytes) -> None:
    with sqlite3.connect(path) as database:
        database.execute(sql, values)
    database.close()


def change_logprobs(path: Path, logprob: float) -> None:
    """Give every token of draw 1, which have log-probability 0, another one."""
    with Ledger(path, read_only=True) as ledger:
        n_tokens = next(
            len(row[6]) // 4
            for row in ledger.contents()
            if row[0] == "draws" and row[5] == 1 and isinstance(row[6], bytes)
        )
    change(
        path,
        "UPDATE drawn SET checksum = NULL, n_cached = 7, logprobs = ? WHERE draw_index = 1",
        pack("f", [logprob] * n_tokens),
    )


def test_what_two_ledgers_share_is_counted_once(tmp_path: Path):
    a = write_ledger(tmp_path / "a.sqlite", PROBLEM, range(5))
    b = write_ledger(tmp_path / "b.sqlite", PROBLEM, range(3, 9))
    write_ledger(b, OTHER, range(4))
    assert merge_ledgers([a, b], tmp_path / "c.sqlite") == [
        MergedShard(a, 5, 5, 5, 5),
        MergedShard(b, 10, 8, 10, 8),
    ]
    whole = write_ledger(tmp_path / "whole.sqlite", OTHER, range(4))
    write_ledger(whole, PROBLEM, range(9))
    assert contents(tmp_path / "c.sqlite") == contents(whole)


def test_merging_again_changes_nothing_and_the_output_is_an_input(tmp_path: Path):
    a, b, c = (tmp_path / f"{name}.sqlite" for name in "abc")
    merge_ledgers([write_ledger(a, PROBLEM, range(5)), write_ledger(b, OTHER, range(5))], c)
    once = contents(c)
    assert [shard.n_new_draws for shard in merge_ledgers([a, b], c)] == [10, 0, 0]
    assert contents(c) == once
    b.unlink()  # what the output holds is not lost with the input that it came from
    merge_ledgers([write_ledger(a, PROBLEM, range(7)), c], c)
    assert len(contents(c)) == len(once) + 4  # two more draws and their verdicts
    assert not (tmp_path / ".c.sqlite.merging").exists()


def test_a_merged_ledger_goes_on_as_any_other(tmp_path: Path):
    merge_ledgers([write_ledger(tmp_path / "a.sqlite", PROBLEM, range(5))], tmp_path / "c.sqlite")
    write_ledger(tmp_path / "c.sqlite", PROBLEM, range(8))
    assert contents(tmp_path / "c.sqlite") == contents(
        write_ledger(tmp_path / "whole.sqlite", PROBLEM, range(8))
    )


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        (
            "UPDATE drawn SET text = 'Answer: 1' WHERE draw_index = 2",
            r"draw 2 \(policy simulated-arithmetic-1, prefix [0-9a-f]{32}",
        ),
        ("UPDATE drawn SET logprobs = x'0000803f' WHERE draw_index = 1", r"draw 1 \("),
        ("UPDATE drawn SET finish_reason = 'length' WHERE draw_index = 0", r"draw 0 \("),
        (
            "UPDATE verdicts SET kind = 'unknown', reason = 'no_answer'",
            r"verdict of 'arithmetic-1' on draw 0 of prefix [0-9a-f]{32}",
        ),
        (
            "UPDATE prefixes SET problem_id = 'p7'",
            r"prefix [0-9a-f]{32} \(of problem p7 here, of p1 there\) has another content",
        ),
        ("UPDATE params SET json = '{}'", r"params [0-9a-f]{32} has"),
    ],
)
def test_equal_keys_with_different_content_are_refused_by_name(tmp_path: Path, sql: str, name: str):
    a, b = (
        write_ledger(tmp_path / "a.sqlite", PROBLEM, range(3)),
        write_ledger(tmp_path / "b.sqlite", PROBLEM, range(3)),
    )
    change(b, sql)
    with pytest.raises(LedgerError, match=rf"b\.sqlite: {name}"):
        merge_ledgers([a, b], tmp_path / "c.sqlite")
    assert [path.name for path in tmp_path.iterdir() if "c.sqlite" in path.name] == ["c.sqlite.lock"]


def test_log_probabilities_may_differ_by_rounding_and_costs_by_anything(tmp_path: Path):
    a, b = (
        write_ledger(tmp_path / "a.sqlite", PROBLEM, range(3)),
        write_ledger(tmp_path / "b.sqlite", PROBLEM, range(3)),
    )
    change_logprobs(b, -1e-6)
    merge_ledgers([a, b], tmp_path / "c.sqlite")
    assert contents(tmp_path / "c.sqlite") == contents(a)
    change_logprobs(b, -0.01)
    with pytest.raises(LedgerError, match=r"draw 1 \("):
        merge_ledgers([a, b], tmp_path / "c.sqlite")


def test_a_missing_input_and_an_output_in_use_are_refused(tmp_path: Path):
    a, c = write_ledger(tmp_path / "a.sqlite", PROBLEM, range(3)), tmp_path / "c.sqlite"
    with pytest.raises(LedgerError, match=r"none\.sqlite: no such file; expected a ledger"):
        merge_ledgers([a, tmp_path / "none.sqlite"], c)
    with Ledger(c), pytest.raises(LedgerError, match=r"c\.sqlite: another process is writing"):
        merge_ledgers([a], c)


def test_a_ledger_that_is_being_written_gives_what_it_has_committed(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    with Ledger(path) as ledger:
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM)
        asyncio.run(draw_solutions(recorded, ArithmeticGrader(), PARAMS, range(4)))
        ledger.commit()
        asyncio.run(draw_solutions(recorded, ArithmeticGrader(), PARAMS, range(4, 6)))
        assert merge_ledgers([path], tmp_path / "c.sqlite")[0].n_new_draws == 4


def test_a_killed_merge_leaves_what_was_there(tmp_path: Path):
    a, b, c = (tmp_path / f"{name}.sqlite" for name in "abc")
    write_ledger(a, PROBLEM, range(12000))
    merge_ledgers([write_ledger(b, OTHER, range(10))], c)
    before, merging = contents(c), tmp_path / ".c.sqlite.merging"
    code = (
        "from pathlib import Path; from data_gen.ledger.merge import merge_ledgers; "
        f"merge_ledgers([Path({str(a)!r})], Path({str(c)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not merging.exists():
        time.sleep(0.001)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert merging.exists(), "the merge was over before it was killed"
    assert contents(c) == before
    merge_ledgers([a], c)
    assert not merging.exists()
    assert len(contents(c)) == 1 + 2 + 2 * 12010  # params, prefixes, draws and verdicts
