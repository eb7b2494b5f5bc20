"""Prefixes in blocks: what they take, that nothing of them is lost, and ledgers of before."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from data_gen.ledger.export import exported_draws
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.prefix_blocks import BLOCK
from data_gen.ledger.repair import repair_ledger
from data_gen.ledger.store import Ledger
from data_gen.ledger.verification import find_faults
from data_gen.records.draw_keys import DrawKey, prefix_hash
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from tests.old_ledgers import make_old

PARAMS = SamplingParams(8)
PROMPT = tuple(range(BLOCK + 10))
STEP, N_STEPS = 40, 30


def draw_after_every_step(path: Path, solution: int, n_steps: int = N_STEPS) -> list[tuple[int, ...]]:
    """A ledger with a draw behind the prompt and behind each step of a solution; returns the prefixes."""
    written = tuple(10_000 * solution + i for i in range(STEP * (N_STEPS + 1)))
    prefixes = [PROMPT + written[: STEP * step] for step in range(n_steps + 1)]
    with Ledger(path) as ledger:
        for prefix in prefixes:
            key = DrawKey("policy", prefix_hash(prefix), PARAMS.params_hash, solution, 0)
            parent = None if prefix == PROMPT else prefix_hash(PROMPT)
            step = written[len(prefix) - len(PROMPT) :][:STEP]
            draw = Completion(step, "text", (0.0,) * STEP, FinishReason.EOS, Usage(STEP, 0, 0))
            ledger.add(key, "p1", prefix, parent, PARAMS, draw)
    return prefixes


def exported(path: Path) -> dict[str, list[int]]:
    return {row["prefix_hash"]: row["prefix_ids"] for row in exported_draws(path)}


def test_prefixes_take_their_ids_once_and_are_given_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    prefixes = draw_after_every_step(path, 1)
    draw_after_every_step(path, 2)
    assert list(find_faults(path)) == []
    found = exported(path)
    assert {prefix_hash(ids).hex(): list(ids) for ids in prefixes}.items() <= found.items()
    assert len(found) == 2 * N_STEPS + 1
    with closing(sqlite3.connect(path)) as database:
        n_blocks, in_blocks = database.execute(
            "SELECT count(*), sum(length(token_ids)) FROM blocks"
        ).fetchone()
        (behind,) = database.execute("SELECT sum(length(token_ids)) FROM prefixes").fetchone()
    # 1,338 ids are 10 full blocks, of which the prompt's is shared
    assert (n_blocks, in_blocks) == (19, 19 * 4 * BLOCK)
    assert behind < 61 * 4 * BLOCK
    assert 2 * sum(4 * len(ids) for ids in prefixes) > 7 * (in_blocks + behind)  # what they took whole


def test_a_ledger_of_whole_prefixes_is_read_merged_and_gone_on_with(tmp_path: Path) -> None:
    old, new, both = (tmp_path / name for name in ("old.sqlite", "new.sqlite", "both.sqlite"))
    draw_after_every_step(old, 1, n_steps=5)
    before = exported(old)
    make_old(old, 3)
    assert list(find_faults(old)) == []
    assert exported(old) == before
    draw_after_every_step(new, 1, n_steps=8)
    assert [shard.n_new_draws for shard in merge_ledgers([old, new], both)] == [6, 3]
    assert list(find_faults(both)) == []
    assert exported(both) == exported(new)
    draw_after_every_step(old, 2, n_steps=5)
    assert list(find_faults(old)) == []
    assert before.items() < exported(old).items()
    with Ledger(old, read_only=True) as ledger, Ledger(both, read_only=True) as merged:
        prefixes = {row for row in ledger.contents() if row[0] == "prefixes"}
        assert {row for row in merged.contents() if row[0] == "prefixes"} & prefixes


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE blocks SET token_ids = zeroblob(512) WHERE base_hash IS NOT NULL",
        "DELETE FROM blocks WHERE base_hash IS NOT NULL",
        "UPDATE blocks SET base_hash = hash WHERE base_hash IS NOT NULL",
        "UPDATE blocks SET token_ids = 7 WHERE base_hash IS NOT NULL",
    ],
)
def test_what_a_damaged_block_loses_is_rebuilt_from_prompt_and_draws(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    draw_after_every_step(path, 1)
    before = exported(path)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(damage)
    assert {fault.table for fault in find_faults(path)} >= {"prefixes"}
    repaired = repair_ledger(path)
    assert list(find_faults(path)) == []
    # Each prefix is the one before it and the draw from there, which this policy's steps are
    assert exported(path) == before
    assert repaired.rebuilt["prefixes"] == repaired.moved_out["prefixes"] > 20
