"""Labeled solutions for people: step values, intervals and the located error in colour, and how far labeling
methods agree.

`prm-train label --run runs/x --show 3` prints them from the run's labels.jsonl. Labels of other methods are
kept beside it under labels-<method>.jsonl; where a run holds several, a table says how often each two name
the same first error.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from data_gen.files.run_folder import read_records
from data_gen.labeling.views import advantage
from data_gen.records.first_error import NO_ERROR, first_error
from data_gen.records.solutions import LabeledSolution, Problem, StepEstimate

BAR_WIDTH = 21
MIN_TABLE_WIDTH = 100  # below it, as in a pipe, the steps' texts stand on lines of their own


@dataclass(frozen=True)
class Agreement:
    """Of the `n_both` wrong solutions in which two methods located a first error, `n_same` have it at the
    same step.
    """

    n_both: int
    n_same: int


def show_labels(run: Path, n: int, console: Console) -> None:
    """Print `n` of the run's labeled solutions, wrong ones first, and the agreement of its label files.
    Raises InputError.
    """
    questions = {
        problem.problem_id: problem.question for problem in read_records(run / "problems.jsonl", Problem)
    }
    for labeled in choose(run / "labels.jsonl", n):
        question, is_wide = (
            questions.get(labeled.graded.solution.problem_id, ""),
            console.width >= MIN_TABLE_WIDTH,
        )
        console.print(solution_table(labeled, question) if is_wide else solution_lines(labeled, question))
        console.print()
    files = label_files(run)
    if len(files) > 1:
        console.print(
            agreement_table(
                agreement({name: list(read_records(path, LabeledSolution)) for name, path in files.items()})
            )
        )


def keep_by_method(run: Path, method: str) -> None:
    """Copy labels.jsonl to labels-<method>.jsonl, whole or not at all, so that labels of several methods can
    be compared.
    """
    kept = run / f"labels-{method}.jsonl"
    unfinished = kept.with_suffix(".part")
    shutil.copyfile(run / "labels.jsonl", unfinished)
    unfinished.replace(kept)


def label_files(run: Path) -> dict[str, Path]:
    """The run's label files by the name of their method; labels.jsonl alone where no other was kept."""
    named = {path.stem.removeprefix("labels-"): path for path in sorted(run.glob("labels-*.jsonl"))}
    return named or {"labels": run / "labels.jsonl"}


def choose(path: Path, n: int) -> list[LabeledSolution]:
    """The first `n` solutions whose first error is located; where these are fewer, the first others after
    them.
    """
    located = list(islice((each for each in read_records(path, LabeledSolution) if False in each.labels), n))
    others = (each for each in read_records(path, LabeledSolution) if False not in each.labels)
    return [*located, *islice(others, n - len(located))]


def solution_table(labeled: LabeledSolution, question: str) -> Table:
    """A row a step: label, value with its interval, what the step added to it, where the evidence comes from,
    text.
    """
    title, caption = _title(labeled, question), _caption(labeled)
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    table.add_column("step", justify="right")
    table.add_column("label")
    table.add_column("value", justify="right")
    added = _added(labeled)
    if any(added):
        table.add_column("adds", justify="right")
    table.add_column(f"0{'95 %'.center(BAR_WIDTH - 2)}1", no_wrap=True, width=BAR_WIDTH)
    table.add_column("evidence", no_wrap=True)
    table.add_column("text", ratio=1)
    for i, (step, estimate) in enumerate(zip(labeled.steps, labeled.estimates, strict=True)):
        mark, style = _mark(labeled, i)
        cells = (
            str(i),
            mark,
            _value(estimate),
            *([added[i]] if any(added) else []),
            _bar(estimate),
            _evidence(estimate),
        )
        table.add_row(*(Text(cell, style=style) for cell in cells), Text(step.strip("\n"), style=style))
    return table


def solution_lines(labeled: LabeledSolution, question: str) -> Group:
    """The same for narrow screens: what is known of a step, and below it the step's text."""
    parts: list[RenderableType] = [_title(labeled, question)]
    for i, (step, estimate, added) in enumerate(
        zip(labeled.steps, labeled.estimates, _added(labeled), strict=True)
    ):
        mark, style = _mark(labeled, i)
        interval = f"in [{estimate.low:.2f}, {estimate.high:.2f}]" if estimate.n_rollouts else ""
        adds = f"adds {added}" if added else ""
        facts = "  ".join(
            filter(None, (f"{i:>3}  {mark:<5}", _value(estimate), interval, adds, _evidence(estimate)))
        )
        parts += [
            Text(facts, style=style),
            Padding(Text(step.strip("\n"), style=style), (0, 0, 0, 12), expand=False),
        ]
    caption = _caption(labeled)
    return Group(*parts, *([Text(caption, style="dim")] if caption else []))


def agreement(labels: Mapping[str, Sequence[LabeledSolution]]) -> dict[tuple[str, str], Agreement]:
    """For each two methods, on the solutions that both labeled with the same steps."""
    errors = {
        name: {
            (each.graded.solution.problem_id, each.graded.solution.index, each.steps): first_error(
                each.labels
            )
            for each in labeled
        }
        for name, labeled in labels.items()
    }
    result = {}
    for a, b in combinations(errors, 2):
        pairs = [(errors[a][key], errors[b][key]) for key in errors[a].keys() & errors[b].keys()]
        both = [pair for pair in pairs if None not in pair and NO_ERROR not in pair]
        result[a, b] = Agreement(len(both), sum(x == y for x, y in both))
    return result


def agreement_table(agreements: Mapping[tuple[str, str], Agreement]) -> Table:
    """A row for each two methods."""
    table = Table(
        title="Same first error, of the wrong solutions where both located one",
        title_justify="left",
        box=None,
    )
    for column in ("method", "method", "same", "of", "share"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for (a, b), each in agreements.items():
        share = f"{each.n_same / each.n_both:.3f}" if each.n_both else "-"
        table.add_row(a, b, str(each.n_same), str(each.n_both), share)
    return table


def _title(labeled: LabeledSolution, question: str) -> Text:
    solution, verdict = labeled.graded.solution, labeled.graded.verdict
    title = Text.assemble((f"{solution.problem_id}, solution {solution.index}: ", "bold"), _verdict(labeled))
    if verdict.reason:
        title.append(f" ({verdict.reason})")
    if question:
        title.append(f"\n{question}", "default")
    return title


def _caption(labeled: LabeledSolution) -> str:
    root = labeled.root
    caption = (
        f"value of the prompt {_value(root)}, 95 % in [{root.low:.2f}, {root.high:.2f}]"
        if root.n_rollouts
        else ""
    )
    if labeled.non_monotone:
        caption += f"; rollouts succeed again after step {', '.join(map(str, labeled.non_monotone))}"
    return caption


def _mark(labeled: LabeledSolution, step: int) -> tuple[str, str]:
    """The label of a step in words, and its style."""
    label = labeled.labels[step]
    mark, style = {True: ("right", "green"), False: ("wrong", "bold red"), None: ("-", "dim")}[label]
    return mark, "yellow" if step in labeled.non_monotone and label is not False else style


def _verdict(labeled: LabeledSolution) -> tuple[str, str]:
    kind = labeled.graded.verdict.kind.value
    return f"{kind} answer {labeled.graded.answer or ''}".rstrip(), {
        "correct": "green",
        "incorrect": "red",
    }.get(kind, "yellow")


def _value(estimate: StepEstimate) -> str:
    return f"{estimate.n_correct}/{estimate.n_rollouts}" if estimate.n_rollouts else ""


def _added(labeled: LabeledSolution) -> list[str]:
    """What each step added to the value, where that is known."""
    is_biased = any(estimate.n_rollouts and estimate.stopping != "fixed" for estimate in labeled.estimates)
    values = [None] * len(labeled.steps) if is_biased else advantage(labeled.root, labeled.estimates)
    return ["" if value is None else f"{value:+.2f}" for value in values]


def _bar(estimate: StepEstimate) -> str:
    """The interval of the value on a line from 0 to 1, its fraction marked."""
    if not estimate.n_rollouts:
        return ""
    last = BAR_WIDTH - 1
    low, high = round(estimate.low * last), round(estimate.high * last)
    cells = ["━" if low <= i <= high else "·" for i in range(BAR_WIDTH)]
    cells[round(estimate.n_correct / estimate.n_rollouts * last)] = "●"
    return "".join(cells)


def _evidence(estimate: StepEstimate) -> str:
    if estimate.method == "rollouts":
        return f"rollouts, {estimate.stopping}" + (
            f", {estimate.n_unknown} unknown" if estimate.n_unknown else ""
        )
    return estimate.method
