"""What a task that ships with the project brings along. `data_gen.problems.tasks` lists them by the name that
`problems.source` takes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from data_gen.records.grader import Grader
from data_gen.records.solutions import Problem


@dataclass(frozen=True)
class BuiltInTask:
    """A task whose problems are drawn and not read, and of which more is known than the gold answers.

    `problems(seed, split)` is endless; a problem's id begins with the source's name and a hyphen. `graders`
    are listed by the names that the setting `grader` takes; `grader` is the one that `auto` means, and all
    compare values exactly.

    `step_truth(question, text)` says whether each step is right: True before the first wrong one, False at
    it, None after it, where nothing says what right would be. Only reports may use it; labels come from
    rollouts alone.

    `policy` is the name under which the language model of the task ships in the folder `policy_folder`.
    `more_policies` are the folders of further ones, by name.
    `simulate(question, written, noise)` continues a solution as a program does that stands in for it.

    `sample_solutions(n)` are n questions with right and wrong solutions, as steps, always the same ones.
    """

    source: str
    title: str
    problems: Callable[[int, str], Iterator[Problem]]
    example_question: str
    graders: Mapping[str, Callable[[], Grader]]
    grader: str
    step_truth: Callable[[str, str], list[bool | None]]
    policy: str
    policy_folder: Path
    simulate: Callable[[str, str, Random], str]
    sample_solutions: Callable[[int], list[tuple[str, tuple[str, ...]]]]
    more_policies: Mapping[str, Path] = field(default_factory=dict)
    report_notes: tuple[str, ...] = ()
