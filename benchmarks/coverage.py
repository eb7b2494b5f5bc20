"""Coverage to k = 10,000 on the built-in task, and how much of it a choice recovers: `make coverage`.

The analysis, written before its figures were made; what changed afterwards stands under Deviations.

Question (Brown et al. 2024, "Large Language Monkeys"): the share of problems that one of k draws solves grows
with k by a power law, log pass@k = a k^b. Does it here, and which choice among k draws keeps up with it?

50 held-out problems of a quickstart (its test split), 10,000 draws of each from the base policy at
temperature 1. Every distinct text is graded once and scored once by the quickstart's PRM and ORM. At each k:

pass          one of k is right, over all subsets of the draws (exact): coverage
majority      the most frequent answer
logprob       the text that the policy finds likeliest (exact)
prm, orm      the text with the highest score (exact): best-of-N. The PRM's own way makes one score of steps
prm_vote, …   the answer with the highest sum of scores: weighted best-of-N
rule          the most frequent answer among solutions in which a calculator finds no mistake: it knows plus,
              minus and times, and that a line goes on with the digit that the last one kept; of mix, fold and
              knead, which are this task's own, it knows nothing. Where it faults all, the majority
rule_prm      the answer with the highest sum of the PRM's scores among those solutions

Votes are means over 200 to 2,000 random subsets of the draws at each k (of all 10,000 there is one); the
largest error that this makes in a mean over problems is reported. All intervals are 95 % bootstraps over
problems; `recovered` is the accuracy of a choice over pass@k of the same problems, resampled together. Both
laws of `prm_train.metrics.coverage` are fitted to all k, and once more to k <= 2,500 and k <= 100: what do
these say of 10,000 draws?

Expected: coverage goes on growing, since the task has steps that the policy gets right rarely, but never
leaves to chance alone (`knead` is a table that it guesses). A vote ends near where it is at k = 100, since a
frequent error stays frequent. Best-of-N by a PRM falls once k is large enough to hold texts that the PRM
likes by mistake; the sum of its scores holds better. The rule recovers what lies in plus, minus and times.

What this cannot show: one policy of 0.4 M parameters, one PRM and one ORM, one temperature. The answer lists
every value, so that a wrong step hardly ever ends in a right answer: on problems with a single number as
answer, coverage counts lucky guesses, too.

Deviations: 50 problems, where 100 were planned (`n_problems` may grow: a finished run takes more). The fit to
k <= 100 was added when the first figures were there. docs/distillation.md says what came out.

    python -m benchmarks.coverage --quickstart runs/quickstart --output runs/coverage

A problem is a line of draws.jsonl, written when all of it is done; an interrupted run goes on, and a finished
one takes more problems. Memory holds one problem at a time. Figures go to benchmarks/results/coverage.json.
"""

import asyncio
import json
import re
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from pydantic import TypeAdapter

from data_gen.answers.vote_key import answer_key
from data_gen.files.locks import lock
from data_gen.files.progress_bar import Progress
from data_gen.files.run_identity import claim_run
from data_gen.grading.graders import Grader, load_grader
from data_gen.models.names import check_inputs
from data_gen.policies.protocol import Policy
from data_gen.problems.arithmetic.rules import OPERATIONS, draw_problems, parse_question
from data_gen.problems.tasks import DEFAULT_TASK, model_path
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.records.solutions import Problem, Solution
from data_gen.records.steps import split_steps
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config, run_command
from prm_train.encoding.aggregation import aggregate
from prm_train.quickstart import QuickstartConfig
from prm_train.scoring.protocol import Scorer, ScorerUsage
from prm_train.search.solution_scores import score_steps

RESULT = Path(__file__).parent / "results" / "coverage.json"
SEPARATOR, SCORERS = "\n", ("prm", "orm")
N_AT_ONCE = 2_500  # draws; equal ones among them are computed once


@dataclass(frozen=True)
class CoverageConfig:
    """Draws of the test problems of a finished quickstart, and what choices among them are worth."""

    quickstart: Path = field(metadata={"is_input": True, "help": "folder of a quickstart, with prm and orm"})
    output: Path = field(metadata={"help": "folder for the draws", "is_execution": True})
    n_problems: Annotated[int, Ge(1)] = field(
        default=50, metadata={"help": "number of test problems", "may_grow": True}
    )
    n_draws: Annotated[int, Ge(1)] = field(default=10_000, metadata={"help": "number of draws of each"})
    result: Path = field(default=RESULT, metadata={"help": "file for the figures", "is_execution": True})


@dataclass(frozen=True)
class DrawnText:
    """A distinct text of a problem, how many draws wrote it, and what counts of it. `scores` hold one of each
    scorer, None beyond its context. A text that is cut has no answer to choose.
    """

    text: str
    count: int
    logprob: float
    answer: str | None
    is_correct: bool
    is_unknown: bool
    passes_rule: bool
    scores: dict[str, float | None]


@dataclass(frozen=True)
class DrawnProblem:
    """A line of draws.jsonl. `n_distinct` of the `n_generated` tokens stand at a place of their own: what the
    engine has to compute; `peak_mb` is the largest memory of the process so far.
    """

    problem: Problem
    texts: tuple[DrawnText, ...]
    n_generated: int
    n_distinct: int
    n_scored: dict[str, int]
    cpu_seconds: float
    peak_mb: int


_LINES: TypeAdapter[DrawnProblem] = TypeAdapter(DrawnProblem)


# --- the rule

_LINE = re.compile(r"(\d) (\w+) (\d(?: \d)?)=(\d+)(?:, keep (\d))?")
_KNOWN = ("plus", "minus", "times")


def passes_rule(question: str, text: str) -> bool:
    """Whether a calculator that knows plus, minus and times finds no mistake in a solution, and its lines do
    what is asked one after the other.
    """
    chain, lines = parse_question(question), text.split("\n")
    if len(lines) != len(chain.operations) + 1:
        return False
    digit, kept = chain.start, []
    for line, (name, operands) in zip(lines, chain.operations, strict=False):
        read = _LINE.fullmatch(line)
        if read is None or (read[1], read[2]) != (str(digit), name):
            return False
        if read[3] != " ".join(map(str, operands)):
            return False
        total, right = int(read[4]), OPERATIONS[name].total(digit, *operands)
        if name in _KNOWN and total != right:
            return False
        digit = total % 10
        if read[5] is not None and int(read[5]) != digit:
            return False
        kept.append(str(digit))
    return lines[-1] == f"Answer: {' '.join(kept)}"


# --- draws


async def draw(policy: Policy, problem: Problem, params: SamplingParams, indices: range) -> list[Completion]:
    prompt = policy.encode_prompt(problem.question)
    return await asyncio.gather(*(policy.sample(prompt, params, index) for index in indices))


def n_distinct_tokens(texts: Iterable[Sequence[int]]) -> int:
    """Nodes of the tree of some texts of tokens."""
    n_nodes = 0
    before: tuple[int, ...] = ()
    for ids in sorted(map(tuple, texts)):
        n_shared = next((i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), None)
        n_nodes += len(ids) - (min(len(before), len(ids)) if n_shared is None else n_shared)
        before = ids
    return n_nodes


async def scores_of(scorer: Scorer, question: str, texts: Sequence[str]) -> tuple[list[float | None], int]:
    """A score for each text, and the tokens that took."""
    async with scorer.session(question) as tree:
        steps = [split_steps(text, SEPARATOR) for text in texts]
        found = await asyncio.gather(*(score_steps(scorer, tree, each) for each in steps))
        usage: ScorerUsage = tree.usage
    known = [[score for score in scores if score is not None] for scores in found]
    whole = [
        aggregate(some, scorer.aggregation) if some and len(some) == len(scores) else None
        for some, scores in zip(known, found, strict=True)
    ]
    return whole, usage.n_new


@dataclass
class Drawn:
    """The draws of a problem by text and by whether they are finished: how many, and the first of each."""

    counts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    firsts: dict[tuple[str, bool], Completion] = field(default_factory=dict)
    ids: set[tuple[int, ...]] = field(default_factory=set)
    n_generated: int = 0

    def add(self, completion: Completion) -> None:
        key = completion.text, completion.finish_reason is not FinishReason.LENGTH
        self.counts[key] += 1
        self.firsts.setdefault(key, completion)
        self.ids.add(completion.token_ids)
        self.n_generated += len(completion.token_ids)


@dataclass(frozen=True)
class Models:
    policy: Policy
    grader: Grader
    scorers: dict[str, Scorer]


def drawn_problem(problem: Problem, models: Models, n_draws: int, n_tokens: int) -> DrawnProblem:
    """All that is known of a problem, in one go."""
    started, drawn = time.process_time(), Drawn()
    for start in range(0, n_draws, N_AT_ONCE):
        indices = range(start, min(start + N_AT_ONCE, n_draws))
        for each in asyncio.run(draw(models.policy, problem, SamplingParams(n_tokens), indices)):
            drawn.add(each)
    readable = [text for text, _ in drawn.counts if text.strip()]
    scores: dict[str, dict[str, float | None]] = {}
    n_scored: dict[str, int] = {}
    for name, scorer in models.scorers.items():
        found, n_scored[name] = asyncio.run(scores_of(scorer, problem.question, readable))
        scores[name] = dict(zip(readable, found, strict=True))
    texts = asyncio.run(judged(problem, models.grader, drawn, scores))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = round(time.process_time() - started, 2)
    n_distinct = n_distinct_tokens(drawn.ids)
    return DrawnProblem(problem, texts, drawn.n_generated, n_distinct, n_scored, seconds, peak)


async def judged(
    problem: Problem, grader: Grader, drawn: Drawn, scores: dict[str, dict[str, float | None]]
) -> tuple[DrawnText, ...]:
    texts = []
    for key, first in drawn.firsts.items():
        solution = Solution(problem.problem_id, 0, first.text, first.finish_reason)
        graded = await grader.grade(problem, solution)
        can_vote = key[1] and graded.answer is not None
        texts.append(
            DrawnText(
                first.text,
                drawn.counts[key],
                sum(first.logprobs),
                answer_key(graded.answer or "") if can_vote else None,
                can_vote and graded.verdict.is_correct,
                graded.verdict.is_unknown,
                can_vote and passes_rule(problem.question, first.text),
                {name: own.get(first.text) for name, own in scores.items()},
            )
        )
    return tuple(texts)


# --- the run


def read_draws(path: Path) -> Iterator[DrawnProblem]:
    """One problem at a time. The last line may have been cut by a kill."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _LINES.validate_json(line)


def drop_cut_line(path: Path) -> None:
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def draw_all(config: CoverageConfig) -> None:
    """The problems that are not in draws.jsonl yet."""
    import torch

    from data_gen.policies.engine.transformers_policy import load_policy
    from prm_train.kinds.load import load_scorer

    torch.set_num_threads(1)  # of so small a model more wait for each other
    path = config.output / "draws.jsonl"
    drop_cut_line(path)
    done = [each.problem for each in read_draws(path)]
    quickstart = load_yaml(QuickstartConfig, config.quickstart / "config.json")
    problems = list(islice(draw_problems(quickstart.seed, "test"), config.n_problems))
    if done[: len(problems)] != problems[: len(done)]:
        raise InputError(f"{path}: holds draws of other problems; expected those of {config.quickstart}")
    if len(done) >= len(problems):
        return
    models = Models(
        load_policy(model_path(quickstart.policy), base_seed=quickstart.seed),
        load_grader("auto", DEFAULT_TASK.source),
        {name: load_scorer(str(config.quickstart / name)) for name in SCORERS},
    )
    progress = Progress("coverage", len(problems), n_done=len(done))
    with path.open("ab") as file, progress as bar:
        for problem in problems[len(done) :]:
            found = drawn_problem(problem, models, config.n_draws, quickstart.max_new_tokens)
            file.write(_LINES.dump_json(found) + b"\n")
            file.flush()
            bar.update(1)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(CoverageConfig, argv)
    check_inputs(config)
    claim_run(config.output, config)
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run is under way there")
        draw_all(config)
        from benchmarks.coverage_figures import figures, table

        seed = load_yaml(QuickstartConfig, config.quickstart / "config.json").seed
        found = {"seed": seed, **figures(read_draws(config.output / "draws.jsonl"), config)}
        config.result.parent.mkdir(parents=True, exist_ok=True)
        config.result.write_text(json.dumps(found, indent=1) + "\n")
        print(table(found))


if __name__ == "__main__":
    run_command(main, "coverage")
