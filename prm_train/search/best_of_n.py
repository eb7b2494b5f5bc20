"""Best-of-N: draw whole solutions once, score each once; every N, vote and aggregation is then read from the
same candidates.

Vanilla and weighted best-of-N as in Snell et al. 2024, section 5.1; the choice itself is in `voting`.
"""

from dataclasses import replace
from typing import Any

from data_gen.grading.graders import Grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.records.steps import split_steps
from data_gen.sampling.solutions import draw_solutions
from prm_train.scoring.protocol import CountedTree, PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.search.baselines import CONFIDENCE, Measures, ProblemBaselines
from prm_train.search.candidates import Candidate


def as_candidate(graded: GradedSolution) -> Candidate:
    solution = graded.solution
    return Candidate(
        problem_id=solution.problem_id,
        index=solution.index,
        text=solution.text,
        answer=graded.answer,
        is_correct=graded.verdict.is_correct,
        is_finished=solution.finish_reason is not FinishReason.LENGTH,
        is_unknown=graded.verdict.is_unknown,
        logprob_sum=sum(solution.logprobs),
        n_tokens=len(solution.token_ids),
    )


async def draw_candidates(
    policy: LedgerPolicy,
    grader: Grader,
    params: SamplingParams,
    indices: range,
    baselines: ProblemBaselines | None = None,
) -> list[Candidate]:
    """The draws with these indices from the problem's prompt, graded but not scored; with the measures of
    baselines, if there are any.
    """
    graded = await draw_solutions(policy, grader, params, indices)
    candidates = [as_candidate(each) for each in graded]
    if baselines is None:
        return candidates
    measured = baselines.measure([each.solution for each in graded])
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
    nodes = path_nodes(tree, steps)
    last = await tree.score(nodes[-1])  # computes the ancestors on the way
    return tuple([await tree.score(node) for node in nodes[1:-1]] + [last]) if scores_steps else (last,)


async def score_candidates(
    problem: Problem, candidates: list[Candidate], scorer: Scorer, name: str, separator: str
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
            scores = await score_path(tree, steps, scorer.scores_steps)
        except PathTooLongError:
            return candidate
        scored = replace(candidate, scores={**candidate.scores, name: scores})
        if not isinstance(tree, CountedTree):
            return scored
        n_tokens = tree.path_tokens(path_nodes(tree, steps))
        return replace(scored, scorer_tokens={**candidate.scorer_tokens, name: n_tokens})

    async with scorer.session(problem.question) as tree:
        return await side_by_side(one(tree, candidate) for candidate in candidates), tree.usage
