"""`prm-train ledger`: counts, faults by name with exit code 1, rows that hold everything."""

import asyncio
import json
import math
import sqlite3
import subprocess
from pathlib import Path

import pyarrow.parquet
import pytest

from data_gen.ledger.export import exported_draws
from data_gen.ledger.file import LedgerError
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.ledger.verification import find_faults
from data_gen.ledger_command import main
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.draw_keys import pack, prefix_hash
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.sampling.solutions import draw_solutions
from data_gen.settings.errors import InputError
from tests.old_ledgers import make_old

PROMPT, PREFIX, PARAMS = (1, 2, 3), (1, 2, 3, 4, 5), SamplingParams(max_new_tokens=8)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A prompt with three draws, two of them equal, and a prefix that continues it with one."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        recorded = LedgerPolicy(
            SimulatedPolicy(), ledger, Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
        )
        for index, ids in enumerate([(4, 5), (4, 5), (6, 7, 8)]):
            finish = FinishReason.LENGTH if index == 2 else FinishReason.EOS
            draw = Completion(
                ids,
                f"draw {index}",
                (math.log(0.5),) * len(ids),
                finish,
                Usage(len(ids), 3 if index == 0 else 0, 3),
            )
            ledger.add(recorded.key(PROMPT, PARAMS, index), "p1", PROMPT, None, PARAMS, draw)
            ledger.add_verdict(
                recorded.key(PROMPT, PARAMS, index),
                "gold",
                "g-1",
                "9 1",
                (CORRECT, INCORRECT, unknown("truncated"))[index],
            )
        ledger.add_verdict(recorded.key(PROMPT, PARAMS, 0), "gold", "g-2", None, INCORRECT)
        draw = Completion((9,), "d", (-0.25,), FinishReason.EOS, Usage(1, 2, 3))
        ledger.add(recorded.key(PREFIX, PARAMS, 0), "p1", PREFIX, prefix_hash(PROMPT), PARAMS, draw)
    return tmp_path


def test_stats_count_what_was_drawn_said_and_spent(run: Path, capsys: pytest.CaptureFixture[str]):
    main(["stats", str(run)])
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "path": str(run / "ledger.sqlite"),
        "policies": {
            "simulated-arithmetic-1": {
                "n_problems": 1,
                "n_prefixes": 2,
                "n_draws": 4,
                "n_generated": 8,
                "n_prefilled": 5,
                "n_cached": 12,
                "finish_reasons": {"eos": 3, "length": 1},
                "verdicts": {
                    "g-1": {"correct": 1, "incorrect": 1, "unknown:truncated": 1},
                    "g-2": {"incorrect": 1},
                },
                "draws": [
                    {
                        "max_new_tokens": 8,
                        "stop": None,
                        "temperature": 1.0,
                        "n_prefixes": 2,
                        "n_draws": 4,
                        "distinct_ratio": 0.75,
                        "n_repeats": 1,
                        "expected_repeats": 0.5,  # the second may repeat the first, 0.25, and the third too
                        "findings": [],
                        "untested": [
                            "shared noise: no two prompts after which draws begin alike now and then"
                        ],
                    }
                ],
            }
        },
    }


def test_export_writes_all_that_is_known_of_a_draw(run: Path):
    main(["export", "--inputs", str(run), "--output", str(run / "draws.jsonl")])
    rows = [json.loads(line) for line in (run / "draws.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    (first,) = [row for row in rows if row["parent_hash"] is None and row["index"] == 0]
    assert first == {
        "policy_id": "simulated-arithmetic-1",
        "problem_id": "p1",
        "prefix_hash": prefix_hash(PROMPT).hex(),
        "parent_hash": None,
        "prefix_ids": [1, 2, 3],
        "params": {"max_new_tokens": 8, "stop": None, "temperature": 1.0},
        "base_seed": 0,
        "index": 0,
        "token_ids": [4, 5],
        "text": "draw 0",
        "logprobs": [pytest.approx(math.log(0.5))] * 2,
        "finish_reason": "eos",
        "n_generated": 2,
        "n_prefilled": 3,
        "n_cached": 3,
        "verdicts": [
            {"grader_version": "g-1", "gold_hash": "gold", "kind": "correct", "reason": "", "answer": "9 1"},
            {"grader_version": "g-2", "gold_hash": "gold", "kind": "incorrect", "reason": "", "answer": None},
        ],
    }
    (rollout,) = [row for row in rows if row["parent_hash"] == prefix_hash(PROMPT).hex()]
    assert (rollout["prefix_ids"], rollout["text"], rollout["verdicts"]) == ([1, 2, 3, 4, 5], "d", [])


def test_an_export_in_parquet_holds_the_rows_of_the_one_in_lines(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_gen.ledger.parquet.ROWS_IN_GROUP", 3)
    path = run / "draws" / "shard-0.parquet"
    main(["export", str(run), "--output", str(path)])
    file = pyarrow.parquet.ParquetFile(path)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 1]
    found = [{**row, "params": json.loads(row["params"])} for row in file.read().to_pylist()]
    assert found == list(exported_draws(run / "ledger.sqlite"))
    assert [each.name for each in path.parent.iterdir()] == ["shard-0.parquet"]


def test_verify_finds_nothing_in_a_sound_ledger(run: Path, capsys: pytest.CaptureFixture[str]):
    main(["verify", str(run)])
    assert capsys.readouterr().out == f"{run / 'ledger.sqlite'}: sound\n"


PROMPT_NAME = prefix_hash(PROMPT).hex()


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        (
            f"UPDATE prefixes SET token_ids = x'{pack('i', (7, 8)).hex()}' WHERE parent_hash IS NULL",
            "prefix_hash is not that of the token",
        ),
        (
            f"UPDATE prefixes SET parent_hash = x'{prefix_hash(PREFIX).hex()}' WHERE parent_hash IS NULL",
            "does not continue its parent: 1",
        ),
        (
            "DELETE FROM prefixes WHERE parent_hash IS NULL",
            f"a draw without its prefix: 3\n  draw 1 (index 0 of prefix {PROMPT_NAME})",
        ),
        ("DELETE FROM params", "a draw without its params: 4"),
        (
            "UPDATE params SET json = json_set(json, '$.temperature', 0.5)",
            "params_hash is not that of the params: 1",
        ),
        ("UPDATE params SET json = json_set(json, '$.beams', 3)", "unreadable params: 1"),
        (
            "UPDATE drawn SET n_generated = 9 WHERE id = 3",
            f"number of ids: 1\n  draw 3 (index 2 of prefix {PROMPT_NAME}): 9 for 3 ids",
        ),
        (
            "UPDATE drawn SET logprobs = zeroblob(4) WHERE id = 1",
            "log-probabilities and ids differ in number: 1",
        ),
        ("UPDATE drawn SET logprobs = x'0000803f' WHERE id = 4", "a log-probability above 0: 1"),
        ("UPDATE drawn SET finish_reason = 'done' WHERE id = 4", "unknown finish reason: 1"),
        ("UPDATE drawn SET n_cached = -1 WHERE id = 4", "negative token count: 1"),
        ("DELETE FROM drawn WHERE id = 1", "a verdict without its draw: 2\n  verdict of 'g-1' on draw 1"),
        ("UPDATE verdicts SET kind = 'right' WHERE draw = 2", "unknown kind of verdict: 1"),
        (
            "UPDATE verdicts SET reason = 'timeout' WHERE draw = 2",
            "a reason belongs to an unknown verdict and to no other: 1",
        ),
        (  # the first two draws were equal and likely; here they are as unlikely as copies are
            f"UPDATE drawn SET checksum = NULL, logprobs = x'{pack('f', (-20.0, -20.0)).hex()}' WHERE id < 3",
            "draws are not independent: 2\n  policy simulated-arithmetic-1",
        ),
    ],
)
def test_verify_names_what_is_wrong_and_fails(
    run: Path, capsys: pytest.CaptureFixture[str], sql: str, fault: str
):
    with sqlite3.connect(run / "ledger.sqlite") as database:
        database.execute(sql)
    database.close()
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(run)])
    assert caught.value.code == 1
    assert fault in capsys.readouterr().out


def test_every_flipped_bit_of_what_was_drawn_is_seen_and_none_is_a_traceback(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    path, unseen = run / "ledger.sqlite", []
    whole = path.read_bytes()
    for stored in (b"draw 2", pack("i", (6, 7, 8)), pack("f", (math.log(0.5),) * 3), b"unknowntruncated"):
        assert whole.count(stored) == 1
        for bit in range(8 * len(stored)):
            damaged = bytearray(whole)
            damaged[whole.index(stored) + bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            unseen += [] if list(find_faults(path)) else [(stored, bit)]
            with pytest.raises(LedgerError, match="prm-train ledger repair"):
                list(exported_draws(path))
    assert unseen == []
    with pytest.raises(LedgerError, match=r"verdict of .* on draw 3; `prm-train ledger verify` lists all"):
        main(["stats", str(run)])
    with Ledger(path) as ledger:
        recorded = LedgerPolicy(
            SimulatedPolicy(), ledger, Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
        )
        with pytest.raises(LedgerError, match=r"draw 2 of prefix .* is not what was stored"):
            ledger.find_verdict(recorded.key(PROMPT, PARAMS, 2), "gold", "g-1")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE drawn SET text = 'draw 9' WHERE id = 1", "1 draws moved; 2 verdicts moved"),
        # A draw keeps all or none
        ("UPDATE verdicts SET answer = '9 2' WHERE grader_version = 'g-2'", "2 verdicts moved"),
        # From the prefix that continues it
        ("DELETE FROM prefixes WHERE parent_hash IS NULL", "1 prefixes rebuilt"),
        # From the prompt and a draw
        ("DELETE FROM prefixes WHERE parent_hash IS NOT NULL", "1 prefixes rebuilt"),
        (
            "UPDATE prefixes SET problem_id = 'p2' WHERE parent_hash IS NULL",
            "1 prefixes rebuilt; 1 prefixes moved",
        ),
        ("DELETE FROM prefixes", "4 draws moved; 4 verdicts moved"),
        ("UPDATE params SET json = '{}'", "1 params rebuilt; 1 params moved"),  # from config.json
        (
            "DELETE FROM params; UPDATE streams SET params_hash = 'x' WHERE id = 2",
            "1 params rebuilt; 1 draws moved",
        ),
        ("DELETE FROM drawn WHERE id = 1", "2 verdicts moved"),
    ],
)
def test_repair_rebuilds_what_the_run_tells_and_moves_out_the_rest(
    run: Path, capsys: pytest.CaptureFixture[str], sql: str, told: str
):
    path = run / "ledger.sqlite"
    (run / "config.json").write_text(
        '{"max_new_tokens": 8, "temperature": 0.5, "other_temperatures": [1.0], "step_separator": "\\n"}'
    )
    with sqlite3.connect(path) as database:
        database.executescript(sql)
        n_before = database.execute("SELECT count(*) FROM draws").fetchone()[0]
    database.close()
    main(["repair", str(run)])
    said = capsys.readouterr().out.splitlines()
    assert said[0].replace(f" to {run / 'ledger.moved-out.jsonl'}", "") == f"{path}: sound; {told}"
    assert list(find_faults(path)) == []
    moved = (
        [json.loads(line) for line in (run / "ledger.moved-out.jsonl").read_text().splitlines()]
        if "moved" in told
        else []
    )
    with Ledger(path, read_only=True) as ledger:
        assert n_before - ledger.n_draws() == sum(row["table"] == "draws" for row in moved)
    main(["repair", str(run)])
    assert capsys.readouterr().out == f"{path}: sound\n"


def test_a_ledger_without_checksums_is_read_written_on_and_merged(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    path, merged = run / "ledger.sqlite", run / "merged.sqlite"
    make_old(path, 2)
    before = list(exported_draws(path))
    main(["verify", str(run)])
    main(["merge", str(run), "--output", str(merged)])
    assert list(exported_draws(merged)) == before
    with Ledger(path) as ledger:
        recorded = LedgerPolicy(
            SimulatedPolicy(), ledger, Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
        )
        found = ledger.find(recorded.key(PROMPT, PARAMS, 2))
        assert found is not None
        assert found.text == "draw 2"
        ledger.add(recorded.key(PROMPT, PARAMS, 3), "p1", PROMPT, None, PARAMS, found)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT id FROM draws WHERE checksum IS NULL").fetchall() == [
            (1,),
            (2,),
            (3,),
            (4,),
        ]
    database.close()
    main(["verify", str(run)])
    assert capsys.readouterr().out == f"{path}: sound\n" * 2


def test_a_ledger_where_nothing_can_be_written_is_read_as_it_stands(
    run: Path, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    there = small_disk / "ledger.sqlite"
    there.write_bytes((run / "ledger.sqlite").read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    main(["verify", str(small_disk)])
    main(["stats", str(small_disk)])
    assert capsys.readouterr().out.startswith(f"{there}: sound\n{{")
    main(["merge", str(small_disk), str(run), "--output", str(tmp_path / "merged.sqlite")])
    assert list(exported_draws(tmp_path / "merged.sqlite")) == list(exported_draws(there))
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    there.with_name("ledger.sqlite-wal").write_bytes(b"draws that were not yet in the file")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(
        LedgerError, match=r"its last draws are in ledger\.sqlite-wal, which cannot be read in this folder"
    ):
        main(["stats", str(small_disk)])


def test_verify_reports_damaged_pages_and_goes_on_with_the_next_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damaged, sound = tmp_path / "damaged.sqlite", tmp_path / "sound.sqlite"
    for path in (damaged, sound):
        with Ledger(path) as ledger:
            recorded = LedgerPolicy(
                SimulatedPolicy(), ledger, Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
            )
            asyncio.run(draw_solutions(recorded, ArithmeticGrader(), SamplingParams(200), range(200)))
    content = bytearray(damaged.read_bytes())
    content[40000:60000] = bytes(20000)
    damaged.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(damaged), str(sound)])
    assert caught.value.code == 1
    shown = capsys.readouterr().out
    assert f"{damaged}: damaged file" in shown
    assert f"{sound}: sound" in shown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["stat", "x"], 'action: got "stat", expected one of stats, verify, repair, merge, export'),
        (["stats", "none.sqlite"], "none.sqlite: no such file; expected a ledger"),
        (["stats"], "no value for inputs"),
        (["merge", "a.sqlite"], "output: got None, expected a file (action merge)"),
        (
            ["verify", "a.sqlite", "--output", "b.sqlite"],
            "output: got b.sqlite, expected none: nothing is written (action verify)",
        ),
    ],
)
def test_what_cannot_be_done_is_said(argv: list[str], message: str):
    with pytest.raises(InputError) as caught:
        main(argv)
    assert message in str(caught.value)


def test_paths_may_hold_commas_and_be_given_as_words_or_as_a_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "a,b.sqlite"
    with Ledger(path) as ledger:
        recorded = LedgerPolicy(
            SimulatedPolicy(), ledger, Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
        )
        assert asyncio.run(
            recorded.sample(recorded.encode_prompt("Start with 3: fold 4, times 9."), PARAMS, 0)
        ).token_ids
    main(["verify", str(path)])
    main(["merge", str(path), "--output", str(tmp_path / "c.sqlite")])
    main(["verify", "--inputs", str(tmp_path / "c.sqlite")])
    assert capsys.readouterr().out == f"{path}: sound\n{tmp_path / 'c.sqlite'}: sound\n"


def test_repair_knows_a_chat_with_fewer_attempts_by_the_one_that_begins_with_it(tmp_path: Path):
    """A chain's prompts: question, attempt, question, attempt, ...: each begins with those before it."""
    chats = [PROMPT, (*PROMPT, 7, *PROMPT), (*PROMPT, 7, *PROMPT, 8, *PROMPT)]
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        problem = Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
        recorded = LedgerPolicy(SimulatedPolicy(), ledger, problem)
        draw = Completion((9,), "d", (-0.25,), FinishReason.EOS, Usage(1, 2, 3))
        step = (*chats[2], 9)
        for prefix, parent in [*((chat, None) for chat in chats), (step, prefix_hash(chats[2]))]:
            ledger.add(recorded.key(prefix, PARAMS, 0), "p1", prefix, parent, PARAMS, draw)
    (tmp_path / "config.json").write_text('{"max_new_tokens": 8}')
    rows = "SELECT hash, parent_hash FROM prefixes ORDER BY hash"
    with sqlite3.connect(path) as database:
        whole = database.execute(rows).fetchall()
    for lost in (chats[:2], chats):
        with sqlite3.connect(path) as database:
            database.executemany("DELETE FROM prefixes WHERE hash = ?", [(prefix_hash(ids),) for ids in lost])
        database.close()
        main(["repair", str(tmp_path)])
        assert list(find_faults(path)) == []
        with sqlite3.connect(path) as database:
            assert database.execute(rows).fetchall() == whole
