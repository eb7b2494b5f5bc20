"""Best-of-N: draw whole solutions once, score each once; every N, vote and aggregation is then read from the
same candidates.

Vanilla and weighted best-of-N as in Snell et al. 2024, section 5.1; the choice itself is in `voting`.
"""

from dataclasses import replace
from typing import Any

from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import Question, Solution
from data_gen.records.steps import split_steps
from data_gen.sampling.solutions import Prefix, draw_solution
from prm_train.scoring.protocol import CountedTree, PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.strategies.baselines import CONFIDENCE, Measures, ProblemBaselines
from prm_train.strategies.candidates import Candidate


def as_candidate(solution: Solution, answer: str | None) -> Candidate:
    """Not graded yet: its verdict is unknown."""
    return Candidate(
        problem_id=solution.problem_id,
        index=solution.index,
        text=solution.text,
        answer=answer,
        is_correct=False,
        is_finished=solution.finish_reason is not FinishReason.LENGTH,
        is_unknown=True,
        logprob_sum=sum(solution.logprobs),
        n_tokens=len(solution.token_ids),
    )


async def draw_candidates(
    policy: LedgerPolicy,
    reader: AnswerReader,
    params: SamplingParams,
    indices: range,
    baselines: ProblemBaselines | None = None,
) -> list[Candidate]:
    """The draws with these indices from the question's prompt, neither graded nor scored; with the measures
    of baselines, if there are any.
    """
    prompt = Prefix(policy.encode_prompt(policy.question.question))
    solutions = await side_by_side(draw_solution(policy, prompt, params, index) for index in indices)
    candidates = [as_candidate(each, reader.read_answer(policy.question, each)) for each in solutions]
    if baselines is None:
        return candidates
    measured = baselines.measure(solutions)
    return [with_measures(*pair) for pair in zip(candidates, measured, strict=True)]


def with_measures(candidate: Candidate, measures: Measures) -> Candidate:
    read = {CONFIDENCE: (measures.n_read,)} if measures.n_read else {}
    return replace(candidate, confidence=measures.values, scorer_tokens=read)


def path_nodes(tree: ScoringTree, steps: tuple[str, ...]) -> list[Any]:
    """The root, and a node for each step."""
    nodes = [tree.root]
    for step in steps:
        nodes.append(tree.extend(nodes[-1], step))
    return nodes


async def score_path(tree: ScoringTree, steps: tuple[str, ...], scores_steps: bool) -> tuple[float, ...]:
    """The scores of a finished path: one a step from a PRM, the last alone from an ORM."""
    return await score_nodes(tree, path_nodes(tree, steps), scores_steps)


async def score_nodes(tree: ScoringTree, nodes: list[Any], scores_steps: bool) -> tuple[float, ...]:
    """As `score_path`, of a path that begins with the root."""
    last = await tree.score(nodes[-1])  # computes the ancestors on the way
    return tuple([await tree.score(node) for node in nodes[1:-1]] + [last]) if scores_steps else (last,)


async def score_candidates(
    question: Question, candidates: list[Candidate], scorer: Scorer, name: str, separator: str
) -> tuple[list[Candidate], ScorerUsage]:
    """The candidates with the scorer's scores under `name`; one tree for all, so what they share is computed
    once. Where the scorer says it, with what each path costs, too.

    A candidate without a step (an empty text), or too long for the scorer, gets no score and never takes part
    in a choice by score.
    """

    async def one(tree: ScoringTree, candidate: Candidate) -> Candidate:
        steps = split_steps(candidate.text, separator)
        if not steps:
            return candidate
        try:
            nodes = path_nodes(tree, steps)
            scores = await score_nodes(tree, nodes, scorer.scores_steps)
        except PathTooLongError:
            return candidate
        n_tokens = {} if counted is None else {name: counted.path_tokens(nodes)}
        return replace(
            candidate,
            scores={**candidate.scores, name: scores},
            scorer_tokens={**candidate.scorer_tokens, **n_tokens},
        )

    async with scorer.session(question.question) as tree:
        counted = tree if isinstance(tree, CountedTree) else None
        return await side_by_side(one(tree, candidate) for candidate in candidates), tree.usage
