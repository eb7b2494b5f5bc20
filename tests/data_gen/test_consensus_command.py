import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_gen import build, consensus_command
from data_gen.files.jsonl import read_jsonl, write_jsonl
from data_gen.files.run_folder import read_records, write_records
from data_gen.judging.stored_judgements import read_judgements
from data_gen.labeling.rollouts import terminal
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.rows.layouts import PrmRow, read_rows
from data_gen.settings.errors import InputError
from prm_train.examples.targets import LabelAlgebra, step_targets
from tests.chat_server import FAULTS, ChatServer, serve

N_SOLUTIONS = 60


def labeled(problem_id: str, index: int, labels: tuple[bool | None, ...]) -> LabeledSolution:
    steps = tuple(f"{problem_id}, {index}: step {step}" for step in range(len(labels)))
    answer, verdict = ("1", CORRECT) if all(labels) else ("2", INCORRECT)
    graded = GradedSolution(Solution(problem_id, index, "\n".join(steps)), answer, verdict)
    return LabeledSolution(graded, steps, (StepEstimate(),) * len(steps), labels)


def write_run(run: Path, solutions: list[LabeledSolution]) -> Path:
    ids = dict.fromkeys(each.graded.solution.problem_id for each in solutions)
    write_records(run / "problems.jsonl", Problem, [Problem(name, f"Question {name}?", "1") for name in ids])
    write_records(run / "solutions.jsonl", GradedSolution, [each.graded for each in solutions])
    write_records(run / "labels.jsonl", LabeledSolution, solutions)
    return run


LABELS = ((True, True, True), (True, False, None), (False, None, None))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """60 solutions of 6 problems; their first errors go none, 1, 0, none, 1, 0, …"""
    return write_run(
        tmp_path / "run", [labeled(f"p{i // 10}", i % 10, LABELS[i % 3]) for i in range(N_SOLUTIONS)]
    )


def verdict(prompt: str) -> str:
    """A judge who agrees with the labels of every solution but those with index 0 and 9, of whom it is silent
    about 9.
    """
    found = re.search(r"p(\d+), (\d+): step 0", prompt)
    assert found is not None
    problem, index = map(int, found.groups())
    if index == 9:
        return "I cannot tell."
    return f"\\boxed{{{2 if index == 0 else (-1, 1, 0)[(problem * 10 + index) % 3]}}}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(verdict) as running:
        yield running


def arguments(run: Path, output: Path, server: ChatServer, **settings: object) -> list[str]:
    judge = {
        "base_url": server.base_url,
        "model": "judge",
        "pause_seconds": "0.01",
        "timeout_seconds": "4.0",
        **settings,
    }
    return [
        "--run",
        str(run),
        "--output",
        str(output),
        *(f"--judge.{name}={value}" for name, value in judge.items()),
    ]


def consensus(run: Path, output: Path, server: ChatServer, **settings: object) -> dict[str, Any]:
    consensus_command.main(arguments(run, output, server, **settings))
    facts: dict[str, Any] = json.loads((output / "consensus.json").read_text())
    return facts


def test_what_the_judge_confirms_is_kept_and_build_reads_it(
    run: Path, tmp_path: Path, server: ChatServer
) -> None:
    """Of 10 solutions a problem the judge names step 2 for one, always wrongly, and nothing for another: 8 x
    6 are kept.
    """
    facts = consensus(run, tmp_path / "agreed", server, at_once=7)
    assert (facts["n_solutions"], facts["n_kept"], facts["kept_share"]) == (60, 48, 0.8)
    assert facts["left_out"] == {"judge unknown: no_box": 6, "judge: earlier": 2, "judge: later": 4}
    assert 1 < server.n_open_at_most <= 7
    kept = list(read_records(tmp_path / "agreed/labels.jsonl", LabeledSolution))
    assert kept == [
        each
        for each in read_records(run / "labels.jsonl", LabeledSolution)
        if each.graded.solution.index not in (0, 9)
    ]
    build.main(["--runs", str(tmp_path / "agreed"), "--output", str(tmp_path / "rows")])
    assert len(list(read_jsonl(tmp_path / "rows/prm.jsonl"))) == 48
    assert len(list(read_jsonl(tmp_path / "rows/orm.jsonl"))) == 60


def test_a_finished_run_asks_nothing_and_says_the_same(run: Path, tmp_path: Path, server: ChatServer) -> None:
    facts = consensus(run, tmp_path / "agreed", server)
    first = {path.name: path.read_bytes() for path in (tmp_path / "agreed").iterdir()}
    assert len(server.bodies) == N_SOLUTIONS
    assert consensus(run, tmp_path / "agreed", server) == facts
    assert len(server.bodies) == N_SOLUTIONS
    assert {path.name: path.read_bytes() for path in (tmp_path / "agreed").iterdir()} == first


def test_the_stored_judgements_serve_without_the_model(run: Path, tmp_path: Path, server: ChatServer) -> None:
    facts = consensus(run, tmp_path / "agreed", server)
    stored = tmp_path / "agreed/judgements.jsonl"
    consensus_command.main(
        ["--run", str(run), "--output", str(tmp_path / "again"), "--judgements", str(stored)]
    )
    again = json.loads((tmp_path / "again/consensus.json").read_text())
    assert {name: value for name, value in again.items() if name != "config"} == {
        n: v for n, v in facts.items() if n != "config"
    }
    assert (tmp_path / "again/labels.jsonl").read_bytes() == (tmp_path / "agreed/labels.jsonl").read_bytes()


def test_faults_of_the_server_change_nothing(run: Path, tmp_path: Path, server: ChatServer) -> None:
    whole = consensus(run, tmp_path / "whole", server)
    server.faults.extend(FAULTS * 4)
    assert consensus(run, tmp_path / "faulty", server, attempts=30, timeout_seconds=1.0) | {
        "config": {}
    } == whole | {"config": {}}
    assert (tmp_path / "faulty/labels.jsonl").read_bytes() == (tmp_path / "whole/labels.jsonl").read_bytes()
    assert not server.faults


def test_a_server_that_goes_away_leaves_what_was_judged(
    run: Path, tmp_path: Path, server: ChatServer
) -> None:
    server.faults.extend(["404"])
    with pytest.raises(InputError, match="status 404"):
        consensus(run, tmp_path / "agreed", server, at_once=1)
    assert not (tmp_path / "agreed/labels.jsonl").exists()
    server.bodies.clear()
    assert consensus(run, tmp_path / "agreed", server)["n_kept"] == 48
    assert len(server.bodies) == N_SOLUTIONS


def test_a_refused_solution_is_asked_again_next_time(run: Path, tmp_path: Path, server: ChatServer) -> None:
    server.faults.append("400")
    facts = consensus(run, tmp_path / "agreed", server, at_once=1)
    assert facts["left_out"]["judge unknown: refused_400"] == 1
    assert "judge unknown: refused_400" not in consensus(run, tmp_path / "agreed", server)["left_out"]
    assert len(server.bodies) == N_SOLUTIONS + 1


def test_killed_at_any_moment_it_asks_only_for_what_is_missing(
    run: Path, tmp_path: Path, server: ChatServer
) -> None:
    whole = consensus(run, tmp_path / "whole", server)
    server.bodies.clear()
    server.seconds, at_once, n_kills = 0.05, 4, 3
    stored, output = b"", tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "data_gen.consensus_command",
        *arguments(run, output, server, at_once=at_once),
    ]
    for kill in range(n_kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        n_before = len(server.bodies)
        while len(server.bodies) < n_before + 10 + kill:
            assert process.poll() is None, "ended before the kill"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = (output / "judgements.jsonl").read_bytes()
        assert now.startswith(stored), f"kill {kill} changed what was stored"
        assert len(now) > len(stored), f"kill {kill} came before a judgement: the test shows nothing"
        stored = now[: now.rfind(b"\n") + 1]
    server.seconds = 0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((output / "consensus.json").read_text()) | {"config": {}} == whole | {"config": {}}
    assert (output / "judgements.jsonl").read_bytes().startswith(stored)
    assert sorted(each.key for each in read_judgements(output / "judgements.jsonl")) == sorted(
        (f"p{i // 10}", i % 10) for i in range(N_SOLUTIONS)
    )
    # Only what was under way at a kill is asked twice
    assert len(server.bodies) <= N_SOLUTIONS + n_kills * at_once


def test_changed_steps_are_not_matched_with_an_old_judgement(
    run: Path, tmp_path: Path, server: ChatServer
) -> None:
    consensus(run, tmp_path / "agreed", server)
    solutions = list(read_records(run / "labels.jsonl", LabeledSolution))
    write_run(run, [labeled("p0", 0, (True, True, True, True)), *solutions[1:]])
    with pytest.raises(InputError, match="solution 0 of problem p0: the stored judgement is of other steps"):
        consensus(run, tmp_path / "agreed", server)


def test_what_is_kept_trains_on_the_error_that_was_confirmed(tmp_path: Path) -> None:
    """Rollouts after every step: right solution whose step 1 failed by chance, and a wrong one with a lucky
    rollout after its error.
    """
    counts = (
        StepEstimate(3, 8, method="rollouts"),
        StepEstimate(0, 8, method="rollouts"),
        StepEstimate(1, 8, method="rollouts"),
    )
    right, wrong = labeled("p0", 0, (True,) * 4), labeled("p0", 1, (True, False, True, False))
    right = replace(right, labels=(True, False, True, True), estimates=(*counts, terminal(True)))
    run = write_run(tmp_path / "run", [right, replace(wrong, estimates=(*counts, terminal(False)))])
    judged = [
        {"problem_id": "p0", "index": 0, "first_error": -1},
        {"problem_id": "p0", "index": 1, "first_error": 1},
    ]
    write_jsonl(tmp_path / "judged.jsonl", judged)
    consensus_command.main(
        ["--run", str(run), "--output", str(tmp_path / "out"), "--judgements", str(tmp_path / "judged.jsonl")]
    )
    build.main(["--runs", str(tmp_path / "out"), "--output", str(tmp_path / "rows"), "--kinds", "prm"])
    rows = read_rows(tmp_path / "rows" / "prm.jsonl", PrmRow)
    values = [
        [target and target.value for target in step_targets(row, LabelAlgebra(until_first_error=True))]
        for row in rows
    ]
    assert values == [[1.0] * 4, [1.0, 0.0, None, None]]


def test_a_judgement_beyond_the_solution_is_refused(run: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "judged.jsonl", [{"problem_id": "p0", "index": 0, "first_error": 3}])
    with pytest.raises(InputError, match=r"judged wrong at step 3, but it has 3 steps"):
        consensus_command.main(
            [
                "--run",
                str(run),
                "--output",
                str(tmp_path / "out"),
                "--judgements",
                str(tmp_path / "judged.jsonl"),
            ]
        )


def test_a_solution_that_comes_twice_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [labeled("p0", 0, (True,)), labeled("p0", 0, (True,))])
    write_jsonl(tmp_path / "judged.jsonl", [])
    with pytest.raises(InputError, match="solution 0 of problem p0 comes twice"):
        consensus_command.main(
            [
                "--run",
                str(run),
                "--output",
                str(tmp_path / "out"),
                "--judgements",
                str(tmp_path / "judged.jsonl"),
            ]
        )


@pytest.mark.parametrize(
    "options", [[], ["--judgements", "a.jsonl", "--judge.base_url", "http://a/v1", "--judge.model", "m"]]
)
def test_there_is_one_judge(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="judge, judgements: got both or neither"):
        consensus_command.main(["--run", "run", "--output", str(tmp_path), *options])


def test_people_are_a_judge_too(real_data: Path, tmp_path: Path) -> None:
    """Labels on ProcessBench's GSM8K solutions that say "none" where the answer is right and step 0
    elsewhere, against people.

    People found 207 of 400 wrong somewhere; 7 of those have a right answer, and in 33 of the other 200 the
    first step is wrong.
    """
    rows = json.loads((real_data / "processbench/gsm8k.json").read_text())
    problems, solutions = [], []
    for index, row in enumerate(rows):
        labels = (
            (True,) * len(row["steps"])
            if row["final_answer_correct"]
            else (False,) + (None,) * (len(row["steps"]) - 1)
        )
        graded = GradedSolution(
            Solution(row["id"], index, "\n\n".join(row["steps"])),
            None,
            CORRECT if row["final_answer_correct"] else INCORRECT,
        )
        problems.append(Problem(row["id"], row["problem"], ""))
        solutions.append(
            LabeledSolution(graded, tuple(row["steps"]), (StepEstimate(),) * len(labels), labels)
        )
    write_records(tmp_path / "run/problems.jsonl", Problem, problems)
    write_records(tmp_path / "run/labels.jsonl", LabeledSolution, solutions)
    source = str(real_data / "processbench/gsm8k.json")
    consensus_command.main(
        ["--run", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--judgements", source]
    )
    facts = json.loads((tmp_path / "out/consensus.json").read_text())
    assert (facts["f1"]["n_erroneous"], facts["f1"]["n_correct"]) == (207, 193)
    assert facts["f1"]["accuracy_on_erroneous"] == pytest.approx(33 / 207)
    assert facts["f1"]["accuracy_on_correct"] == 1.0
    # Right answer, wrong process: 7, as published
    assert facts["judge_by_verdict"]["correct"] == {"error": 7, "none": 193}
