"""Ledgers of earlier versions: read as they are, merged, mended and written on."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from data_gen.ledger.export import exported_draws
from data_gen.ledger.file import LedgerError, has_streams, open_for_reading
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.repair import repair_ledger
from data_gen.ledger.statistics import ledger_statistics
from data_gen.ledger.store import Ledger
from data_gen.ledger.verification import find_faults
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from data_gen.sampling.solutions import draw_solutions
from tests.old_ledgers import make_old

PROBLEMS = [Problem(f"p{n}", f"Start with {n}: fold 4, times 9.", "9 1") for n in range(3)]


def draw(path: Path, n: int, problems: list[Problem] = PROBLEMS) -> int:
    """The first `n` draws of each problem, graded; returns how many were not in the ledger."""
    with Ledger(path) as ledger:
        before = ledger.n_draws()
        for problem in problems:
            policy = LedgerPolicy(SimulatedPolicy(), ledger, problem)
            asyncio.run(draw_solutions(policy, ArithmeticGrader(), SamplingParams(200), range(n)))
        return ledger.n_draws() - before


def contents(path: Path) -> list[tuple[object, ...]]:
    with Ledger(path, read_only=True) as ledger:
        return list(ledger.contents())


def changed(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(sql)


@pytest.fixture(params=[2, 3, 4])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three problems with four graded draws each."""
    path = tmp_path / "old.sqlite"
    draw(path, 4)
    make_old(path, request.param)
    return path


def test_an_old_ledger_says_what_the_new_one_says(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    draw(new, 4)
    assert list(find_faults(old)) == []
    assert contents(old) == contents(new)
    assert list(exported_draws(old)) == list(exported_draws(new))
    assert ledger_statistics(old)["policies"] == ledger_statistics(new)["policies"]
    with closing(open_for_reading(old)) as database:  # reading changed nothing
        assert not has_streams(database)


def test_an_old_ledger_is_written_on_and_draws_nothing_again(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    draw(new, 6)
    before = contents(old)
    assert draw(old, 4) == 0
    assert contents(old) == before
    assert draw(old, 6) == 6
    assert contents(old) == contents(new)
    assert list(find_faults(old)) == []
    with closing(sqlite3.connect(old)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (5,)
        assert has_streams(database)
        # Rows of a ledger without checksums stay without
        (n_bare,) = database.execute("SELECT count(*) FROM draws WHERE checksum IS NULL").fetchone()
    assert n_bare in (0, 12)


def test_an_old_and_a_new_ledger_are_merged(old: Path, tmp_path: Path) -> None:
    new, both, whole = (tmp_path / f"{name}.sqlite" for name in ("new", "both", "whole"))
    draw(new, 6, PROBLEMS[1:])
    draw(whole, 6, PROBLEMS[1:])
    draw(whole, 4, PROBLEMS[:1])
    assert [shard.n_new_draws for shard in merge_ledgers([old, new], both)] == [12, 4]
    assert contents(both) == contents(whole)
    assert list(find_faults(both)) == []
    changed(old, "UPDATE draws SET text = 'Answer: 1' WHERE id = 12")
    with pytest.raises(LedgerError, match=r"old\.sqlite: (draw 3 \(policy|not what was stored: draw 12)"):
        merge_ledgers([new, old], both)


def test_a_damaged_old_ledger_is_mended_as_it_is_and_then_drawn_on(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    draw(path, 4)
    before = contents(path)
    make_old(path, 4)
    changed(path, "UPDATE draws SET text = 'no' WHERE id = 2; DELETE FROM prefixes WHERE id = 3")
    assert repair_ledger(path).moved_out == {"draws": 5, "verdicts": 5}
    with closing(open_for_reading(path)) as database:
        assert not has_streams(database)
    assert draw(path, 4) == 5
    assert contents(path) == before


def test_draws_whose_stream_is_gone_are_seen_and_moved_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    draw(path, 4)
    before = contents(path)
    changed(path, "DELETE FROM streams WHERE id = 2")
    assert [fault.kind for fault in find_faults(path)][:4] == ["a draw without its stream"] * 4
    assert repair_ledger(path).moved_out == {"drawn": 4, "verdicts": 4}
    assert list(find_faults(path)) == []
    assert draw(path, 4) == 4
    assert contents(path) == before
