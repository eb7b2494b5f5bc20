"""`prm-train show-tree`: a page that shows what a search in a tree did: each step with its score and how
often it was drawn, which branches went on, which were left, and what the finished paths answered.

The page is one file without scripts and with nothing to fetch. It shows what `prm-train solve --trace true`
kept.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_gen.files.jsonl import write_text
from data_gen.files.run_folder import read_records
from data_gen.records.sampling import FinishReason
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.search.answer import Answer
from prm_train.search.solve_questions import ANSWERS
from prm_train.strategies.trace import TraceNode


@dataclass(frozen=True)
class ShowTreeConfig:
    """Draw the tree of a question that was solved with `trace: true`."""

    run: Path = field(metadata={"is_input": True, "help": "run folder of `prm-train solve`"})
    output: Path = field(metadata={"help": ".html file for the page"})
    question: str | None = field(
        default=None, metadata={"help": "id of the question (question_id in answers.jsonl); null: the first"}
    )


@dataclass(frozen=True)
class Branch:
    """A step of the page. `fate` is what became of it: went on, finished, cut (by a limit) or left (open, and
    not chosen to go on).
    """

    node: TraceNode
    fate: str
    weight: float | None  # relative to the heaviest finished path
    is_on_the_way: bool  # a finished path goes through it
    children: tuple["Branch", ...]

    @property
    def probability(self) -> float:
        """Of the step's tokens under the policy."""
        return math.exp(self.node.logprob)


def branches(trace: Sequence[TraceNode]) -> tuple[Branch, ...]:
    """The first steps, with all that follows them, the best scored first."""
    followers: dict[int | None, list[int]] = {}
    for number, node in enumerate(trace):
        followers.setdefault(node.parent, []).append(number)
    finished = [node.log_weight for node in trace if _is_finished(node)]
    heaviest = max(finished, default=0.0)

    # From the last step to the first: a child is drawn after its parent, so deep trees need no recursion
    built: dict[int, Branch] = {}
    for number in reversed(range(len(trace))):
        node = trace[number]
        children = tuple(built.pop(child) for child in followers.get(number, ()))
        weight = math.exp(node.log_weight - heaviest) if _is_finished(node) else None
        is_on_the_way = _is_finished(node) or any(child.is_on_the_way for child in children)
        built[number] = Branch(node, _fate(node, children), weight, is_on_the_way, _sorted(children))
    return _sorted(tuple(built[number] for number in followers.get(None, ())))


def _is_finished(node: TraceNode) -> bool:
    return node.finish_reason not in (None, FinishReason.LENGTH)


def _fate(node: TraceNode, children: Sequence[Branch]) -> str:
    if _is_finished(node):
        return "finished"
    if node.finish_reason is FinishReason.LENGTH:
        return "cut"
    return "went on" if children else "left"


def _sorted(children: Sequence[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(children, key=lambda branch: -(branch.node.score or 0.0)))


def render(answer: Answer) -> str:
    """The page as HTML; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("prm_train.search", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tree = branches(answer.trace)
    counts = {fate: 0 for fate in ("went on", "left", "finished", "cut")}
    waiting = list(tree)
    while waiting:
        branch = waiting.pop()
        counts[branch.fate] += 1
        waiting.extend(branch.children)
    n_draws = sum(node.n_draws for node in answer.trace)
    return environment.get_template("tree.html.jinja").render(
        answer=answer, tree=tree, counts=counts, n_draws=n_draws
    )


def find_answer(config: ShowTreeConfig) -> Answer:
    """Raises InputError where there is no such question, or it has no trace."""
    for answer in read_records(config.run / ANSWERS, Answer):
        if config.question in (None, answer.question_id):
            if not answer.trace:
                raise InputError(
                    f"{config.run / ANSWERS}: question {answer.question_id} has no trace; expected a search "
                    "in a tree with trace: true"
                )
            return answer
    raise InputError(f"{config.run / ANSWERS}: no question {config.question}")


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ShowTreeConfig, argv)
    write_text(config.output, render(find_answer(config)))
    sys.stdout.write(f"tree: {config.output}\n")


if __name__ == "__main__":
    run_command(main, "show-tree")
