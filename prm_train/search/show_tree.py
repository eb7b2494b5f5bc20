"""`prm-train show-tree`: a page that shows what a search in a tree did: each step with its score and how
often it was drawn, which branches went on, which were left, and what the finished paths answered.

The page is one file without scripts and with nothing to fetch. It shows what `prm-train solve --trace true`
kept, or `prm-train search --trace true`, which knows the gold answer, too.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_gen.files.jsonl import write_text
from data_gen.files.run_folder import read_records
from data_gen.records.sampling import FinishReason
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.encoding.aggregation import Aggregation
from prm_train.search.answer import Answer, named_shares, vote_shares
from prm_train.search.results import ProblemResult, read_results
from prm_train.search.solve_questions import ANSWERS
from prm_train.search.traces import TRACES, SearchTrace, read_traces
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.trace import TraceNode
from prm_train.strategies.tree_searches import parse_strategy
from prm_train.strategies.voting import class_of, tree_votes, weighted_vote

RESULTS = "results.jsonl"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class ShowTreeConfig:
    """Draw the tree of a question that was solved or searched with `trace: true`."""

    run: Path = field(
        metadata={"is_input": True, "help": "run folder of `prm-train solve` or `prm-train search`"}
    )
    output: Path = field(metadata={"help": ".html file for the page"})
    question: str | None = field(
        default=None,
        metadata={
            "help": "id of the question (question_id in answers.jsonl) or of the problem (problem_id); null: "
            "the first"
        },
    )
    strategy: str | None = field(
        default=None,
        metadata={"help": "which search in a tree of a `search`, such as beam:width=8; null: the first"},
    )
    n: int | None = field(default=None, metadata={"help": "N of that search in a tree; null: the first"})

    def __post_init__(self) -> None:
        if self.strategy is not None:
            parse_strategy(self.strategy)  # or one that is none would be sought among the searches


@dataclass(frozen=True)
class Tree:
    """What a page shows. Where the gold answer is known: the verdict on the answer, and those on the paths by
    their texts.
    """

    answer: Answer
    gold_answer: str | None = None
    verdict: str = ""
    verdicts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Branch:
    """A step of the page. `fate` is what became of it: went on, finished, cut (by a limit) or left (open, and
    not chosen to go on).
    """

    node: TraceNode
    fate: str
    weight: float | None  # relative to the heaviest path; None: the search did not return it, finished
    is_on_the_way: bool  # a finished path goes through it
    verdict: str  # on a finished path; empty where none is known
    children: tuple["Branch", ...]

    @property
    def probability(self) -> float:
        """Of the step's tokens under the policy."""
        return math.exp(self.node.logprob)


def branches(trace: Sequence[TraceNode], verdicts: Mapping[str, str] = NOTHING) -> tuple[Branch, ...]:
    """The first steps, with all that follows them, the best scored first; `verdicts` are those on whole
    texts.
    """
    followers: dict[int | None, list[int]] = {}
    texts = list[str]()
    for number, node in enumerate(trace):
        followers.setdefault(node.parent, []).append(number)
        texts.append(("" if node.parent is None else texts[node.parent]) + node.text)
    weights = [weight for weight in map(_log_weight, trace) if weight is not None]
    heaviest = max(weights, default=0.0)

    # From the last step to the first: a child is drawn after its parent, so deep trees need no recursion
    built: dict[int, Branch] = {}
    for number in reversed(range(len(trace))):
        node = trace[number]
        children = tuple(built.pop(child) for child in followers.get(number, ()))
        weight = _log_weight(node)
        is_on_the_way = _is_finished(node) or any(child.is_on_the_way for child in children)
        verdict = verdicts.get(texts[number], "") if _is_finished(node) else ""
        built[number] = Branch(
            node,
            _fate(node, children),
            None if weight is None else math.exp(weight - heaviest),
            is_on_the_way,
            verdict,
            _sorted(children),
        )
    return _sorted(tuple(built[number] for number in followers.get(None, ())))


def _is_finished(node: TraceNode) -> bool:
    return node.finish_reason not in (None, FinishReason.LENGTH)


def _log_weight(node: TraceNode) -> float | None:
    """Of a finished path that the search returned; no other can be voted for."""
    return node.log_weight if _is_finished(node) else None


def _fate(node: TraceNode, children: Sequence[Branch]) -> str:
    if _is_finished(node):
        return "finished"
    if node.finish_reason is FinishReason.LENGTH:
        return "cut"
    return "went on" if children else "left"


def _sorted(children: Sequence[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(children, key=lambda branch: -(branch.node.score or 0.0)))


def render(shown: Tree) -> str:
    """The page as HTML; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("prm_train.search", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    answer = shown.answer
    tree = branches(answer.trace, shown.verdicts)
    counts = {fate: 0 for fate in ("went on", "left", "finished", "cut")}
    waiting = list(tree)
    while waiting:
        branch = waiting.pop()
        counts[branch.fate] += 1
        waiting.extend(branch.children)
    n_draws = sum(node.n_draws for node in answer.trace)
    return environment.get_template("tree.html.jinja").render(
        answer=answer,
        gold_answer=shown.gold_answer,
        verdict=shown.verdict,
        tree=tree,
        counts=counts,
        n_draws=n_draws,
    )


def find_tree(config: ShowTreeConfig) -> Tree:
    """Raises InputError where the run has no such tree."""
    if (config.run / TRACES).exists():
        return find_searched(config)
    if (config.run / RESULTS).exists():
        raise InputError(f"{config.run}: a search without {TRACES}; expected one with trace: true")
    if config.strategy is not None or config.n is not None:
        raise InputError(f"strategy, n: {config.run} is no run of `prm-train search`; expected null")
    return Tree(find_answer(config))


def find_searched(config: ShowTreeConfig) -> Tree:
    """Raises InputError where no finished problem was searched so."""
    path = config.run / TRACES
    finished = {result.problem.problem_id: result for result in read_results(config.run / RESULTS)}
    spec = None if config.strategy is None else str(parse_strategy(config.strategy))
    for trace in read_traces(path):
        if config.question not in (None, trace.problem_id) or trace.problem_id not in finished:
            continue
        for search in trace.searches:
            if spec in (None, search.spec) and config.n in (None, search.n):
                return searched_tree(finished[trace.problem_id], search)
        found = (
            ", ".join(f"{search.spec} N = {search.n}" for search in trace.searches) or "no search in a tree"
        )
        raise InputError(
            f"{path}: strategy {config.strategy}, n {config.n}: problem {trace.problem_id} has {found}"
        )
    raise InputError(f"{path}: no question {config.question}")


def searched_tree(result: ProblemResult, search: SearchTrace) -> Tree:
    """With the answer by the strategy's own vote."""
    run, how = result.trees[search.spec][search.n], parse_strategy(search.spec).votes[0]
    weights = tree_votes(run.candidates, run.scorer, cast("Aggregation", run.settings["aggregation"]), how)
    chosen, pairs = weighted_vote(run.candidates, weights), zip(run.candidates, weights, strict=True)
    voters = [(candidate, weight) for candidate, weight in pairs if weight is not None and candidate.can_vote]
    answer = Answer(
        result.problem.problem_id,
        result.problem.question,
        chosen.answer if chosen else None,
        vote_shares(voters)[class_of(chosen)] if chosen else 0.0,
        named_shares(voters) if chosen else {},
        (),
        (),
        run.spec,
        run.n,
        run.cost,
        None if chosen else f"none of {len(run.candidates)} paths was finished and states an answer",
        search.nodes,
    )
    verdicts = {each.text: _verdict(each) for each in run.candidates}
    return Tree(answer, result.problem.gold_answer, _verdict(chosen) if chosen else "", verdicts)


def _verdict(candidate: Candidate) -> str:
    return "no verdict" if candidate.is_unknown else "right" if candidate.is_correct else "wrong"


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
    write_text(config.output, render(find_tree(config)))
    sys.stdout.write(f"tree: {config.output}\n")


if __name__ == "__main__":
    run_command(main, "show-tree")
