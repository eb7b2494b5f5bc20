import json
import os
from pathlib import Path

import pytest

from data_gen.judging.stored_judgements import (
    Judgement,
    open_judgements,
    read_judgements,
    read_processbench_errors,
    solution_hash,
)
from data_gen.settings.errors import InputError

FIRST = Judgement("p1", 0, 2, "", "hash", "… \\boxed{2}")
SECOND = Judgement("p1", 1, None, "no_box", "hash", "é \u2028")


def test_judgements_outlive_the_process_that_appended_them(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "judgements.jsonl"
    pid = os.fork()
    if pid == 0:
        with open_judgements(path) as log:
            log.append(FIRST)
            log.append(SECOND)
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert list(read_judgements(path)) == [FIRST, SECOND]
    with open_judgements(path) as log:
        assert log.find(("p1", 0), "hash") == Judgement("p1", 0, 2, "", "hash")  # answers stay on disk
        assert log.find(("p1", 2), "hash") is None


def test_half_a_line_is_cut_off_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    with open_judgements(path) as log:
        log.append(FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    with open_judgements(path) as log:
        log.append(SECOND)
    assert path.read_bytes().startswith(whole)
    assert list(read_judgements(path)) == [FIRST, SECOND]


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    with (
        open_judgements(path),
        pytest.raises(InputError, match="another process writes judgements here"),
        open_judgements(path),
    ):
        pass


def test_a_judgement_of_something_else_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    path.write_text('{"problem_id": "p1", "index": 0, "first_error": -1}\n')
    with open_judgements(path) as log:
        assert log.find(("p1", 0), "any") == Judgement("p1", 0, -1)  # made elsewhere
        log.append(Judgement("p1", 1, 0, asked="one"))
        with pytest.raises(
            InputError,
            match="solution 1 of problem p1: the stored judgement is of other steps or from another judge",
        ):
            log.find(("p1", 1), "another")


def test_two_judgements_of_a_solution_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    line = {"problem_id": "p1", "index": 0, "first_error": -1}
    path.write_text(json.dumps(line) + "\n" + json.dumps(line) + "\n")
    assert len(list(read_judgements(path))) == 2
    path.write_text(json.dumps(line) + "\n" + json.dumps(line | {"first_error": None}) + "\n")
    with pytest.raises(
        InputError,
        match=r"judgements\.jsonl:2: another judgement of the solution of an earlier line: line 1 says -1",
    ):
        list(read_judgements(path))


def test_processbench_is_found_by_question_and_steps(real_data: Path) -> None:
    errors = read_processbench_errors(real_data / "processbench/gsm8k.json")
    assert len(errors) == 400
    rows = json.loads((real_data / "processbench/gsm8k.json").read_text())
    assert (
        errors[solution_hash(rows[7]["problem"], [f"{step}\n" for step in rows[7]["steps"]])]
        == rows[7]["label"]
    )
