from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from data_gen.files.run_folder import write_records
from data_gen.labeling.rollouts import NOT_PROBED, WITNESS, terminal
from data_gen.labeling.show import Agreement, agreement, choose, label_files, show_labels
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.settings.errors import InputError

HALF = StepEstimate(4, 8, 0, "rollouts", "fixed", 0.157, 0.843)
LOST = StepEstimate(0, 8, 1, "rollouts", "first_success", 0.0, 0.369)
ROOT = StepEstimate(24, 32, 0, "rollouts", "fixed", 0.566, 0.885)


def solution(
    index: int, labels: tuple[bool | None, ...], non_monotone: tuple[int, ...] = ()
) -> LabeledSolution:
    is_right = all(labels)
    steps = ("3 plus 4=7", "7 minus 2=6", "Answer: 7 6")
    graded = GradedSolution(Solution("p", index, "\n".join(steps)), "7 6", CORRECT if is_right else INCORRECT)
    estimates = (WITNESS,) * 3 if is_right else (HALF, LOST, terminal(False))
    return LabeledSolution(graded, steps, estimates, labels, root=ROOT, non_monotone=non_monotone)


RIGHT = solution(0, (True, True, True))
WRONG = solution(1, (True, False, None), non_monotone=(2,))


def printed(run: Path, n: int, color: bool = False, width: int = 140) -> str:
    console = Console(
        file=StringIO(), width=width, force_terminal=color, color_system="standard" if color else None
    )
    show_labels(run, n, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_records(
        tmp_path / "problems.jsonl", Problem, [Problem("p", "Start with 3: plus 4, minus 2.", "7 5")]
    )
    write_records(tmp_path / "labels.jsonl", LabeledSolution, [RIGHT, WRONG])
    return tmp_path


def test_a_solution_is_shown_with_values_intervals_and_the_located_error(run: Path) -> None:
    lines = printed(run, 1).splitlines()
    assert lines[0].strip() == "p, solution 1: incorrect answer 7 6"
    rows = [line.split() for line in lines if line.split() and line.split()[0] in ("0", "1", "2")]
    assert rows[0][1:3] == ["right", "4/8"]
    assert rows[0][3] == "···━━━━━━━●━━━━━━━···"  # 0.157 * 20 = 3, 0.843 * 20 = 17, 4/8 in the middle
    assert rows[1][1:3] == ["wrong", "0/8"]
    assert rows[1][3] == "●━━━━━━━·············"
    assert rows[1][4:] == ["rollouts,", "first_success,", "1", "unknown", "7", "minus", "2=6"]
    assert rows[2][1:] == ["-", "terminal", "Answer:", "7", "6"]
    assert (
        "value of the prompt 24/32, 95 % in [0.57, 0.89]; rollouts succeed again after step 2"
        in "\n".join(lines)
    )
    assert "Start with 3: plus 4, minus 2." in "\n".join(lines)


def test_eighty_columns_and_pipes_have_a_step_s_text_below_what_is_known_of_it(run: Path) -> None:
    long = replace(WRONG, steps=(WRONG.steps[0], "7 minus 2 " * 12, WRONG.steps[2]))
    write_records(run / "labels.jsonl", LabeledSolution, [long])
    lines = [line.rstrip() for line in printed(run, 1, width=80).splitlines()]
    assert lines[:4] == [
        "p, solution 1: incorrect answer 7 6",
        "Start with 3: plus 4, minus 2.",
        "  0  right  4/8  in [0.16, 0.84]  rollouts, fixed",
        "            3 plus 4=7",
    ]
    assert lines[4] == "  1  wrong  0/8  in [0.00, 0.37]  rollouts, first_success, 1 unknown"
    assert " ".join(" ".join(lines[5:7]).split()) == ("7 minus 2 " * 12).strip()
    assert lines[7:9] == ["  2  -      terminal", "            Answer: 7 6"]
    assert max(map(len, lines)) <= 80


def test_what_a_step_added_is_shown_where_values_are_known(tmp_path: Path) -> None:
    none_left = StepEstimate(0, 8, 0, "rollouts", "fixed", 0.0, 0.369)
    every_step = replace(WRONG, estimates=(HALF, none_left, terminal(False)), labels=(True, False, False))
    write_records(
        tmp_path / "problems.jsonl", Problem, [Problem("p", "Start with 3: plus 4, minus 2.", "7 5")]
    )
    write_records(tmp_path / "labels.jsonl", LabeledSolution, [every_step])
    rows = [
        line.split()
        for line in printed(tmp_path, 1).splitlines()
        if line.split() and line.split()[0] in ("0", "1", "2")
    ]
    assert [row[2:4] for row in rows[:2]] == [["4/8", "-0.25"], ["0/8", "-0.50"]]  # the prompt has 24/32
    assert rows[2][2] == "+0.00"


def test_the_located_error_is_red(run: Path) -> None:
    assert "\x1b[1;31mwrong\x1b[0m" in printed(run, 1, color=True)


def test_wrong_solutions_come_first_and_right_ones_fill_up(run: Path) -> None:
    assert choose(run / "labels.jsonl", 1) == [WRONG]
    assert choose(run / "labels.jsonl", 5) == [WRONG, RIGHT]


def test_methods_are_compared_on_the_solutions_where_both_located_an_error(run: Path) -> None:
    ours = [RIGHT, WRONG, solution(2, (True, False, None)), solution(3, (True, None, None))]
    theirs = [RIGHT, WRONG, solution(2, (False, False, False)), solution(3, (True, False, False))]
    assert agreement({"ours": ours, "theirs": theirs}) == {("ours", "theirs"): Agreement(2, 1)}
    for name, labeled in (("posterior", ours), ("every_step", theirs)):
        write_records(run / f"labels-{name}.jsonl", LabeledSolution, labeled)
    assert list(label_files(run)) == ["every_step", "posterior"]
    table = [line.split() for line in printed(run, 0).splitlines()]
    assert ["every_step", "posterior", "1", "2", "0.500"] in table


def test_a_run_without_labels_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "problems.jsonl", Problem, [])
    with pytest.raises(InputError, match=r"labels\.jsonl: no such file"):
        printed(tmp_path, 1)


def test_what_was_never_probed_shows_nothing(run: Path) -> None:
    bare = LabeledSolution(WRONG.graded, WRONG.steps, (NOT_PROBED,) * 3, (None,) * 3)
    write_records(run / "labels.jsonl", LabeledSolution, [bare])
    assert "━" not in printed(run, 1)
