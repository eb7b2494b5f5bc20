"""Beam search against a PRM (Snell et al. 2024, section 5.2): N paths, the best N / M of them get M next steps each.

    draw N first steps
    until N paths are finished or none is open:
        score the new steps
        finished paths become candidates and leave the beam
        N' = N - finished paths; the best ceil(N' / M) of the distinct open paths stay and draw N' next steps between them, M each

What differs from the usual loop, and why: it stops as soon as no open path can become a candidate (no path is generated only to be thrown
away); a path that hits a limit is kept as unfinished and never votes; a step is scored when it is new and never again; equal paths are
one path, whose copies' share of next steps goes to all that stay, so that N is spent.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from data_gen.accepted_answers import grade_any
from data_gen.grading import Grader
from data_gen.ledger import LedgerPolicy
from data_gen.records import FinishReason, SamplingParams, Solution
from data_gen.steps import split_steps
from data_gen.stop_strings import StopStrings
from prm_train.aggregation import Aggregation, aggregate
from prm_train.scoring import PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.search.best_of_n import as_candidate
from prm_train.search.candidates import Candidate


@dataclass(frozen=True)
class BeamConfig:
    """`n` paths (N), `width` next steps a kept path (M)."""

    n: int = 16
    width: int = field(default=4, metadata={"help": "next steps drawn from each kept path (M in the paper)"})
    max_steps: int = 40
    aggregation: Aggregation = field(default="min", metadata={"help": "how the step scores of a path make its rank"})


@dataclass(frozen=True)
class Path:
    """A path of the search: what was written, its node in the scorer's tree, its step scores so far."""

    token_ids: tuple[int, ...]
    text: str
    node: Any
    scores: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None  # None: open, its last draw was stopped by the separator


async def beam_search(
    policy: LedgerPolicy, grader: Grader, scorer: Scorer, name: str, params: SamplingParams, config: BeamConfig
) -> tuple[list[Candidate], ScorerUsage]:
    """At most N candidates, in the order in which they finished, scored under `name`. `params.stop` is the step separator.

    `params.max_new_tokens` bounds the whole path. Raises ValueError without a separator or with a scorer that cannot score single steps.
    """
    if params.stop is None:
        raise ValueError("beam search draws step by step: params.stop is None, expected the step separator")
    if not scorer.scores_steps:
        raise ValueError(f"beam search ranks unfinished paths: {scorer.scorer_id} scores finished ones only, expected a PRM")
    prompt_ids = policy.encode_prompt(policy.problem.question)
    finished: list[Path] = []
    async with scorer.session(policy.problem.question) as tree:
        kept, n_open = [Path(prompt_ids, "", tree.root)], config.n
        for _ in range(config.max_steps):
            # n_open next steps between the kept paths, as evenly as they go
            shares = [n_open // len(kept) + (rank < n_open % len(kept)) for rank in range(len(kept))]
            requests = [(path, index) for path, share in zip(kept, shares, strict=True) for index in range(share)]
            children = await asyncio.gather(*(next_step(policy, tree, path, len(prompt_ids), params, index) for path, index in requests))
            finished += [child for child in children if child.finish_reason is not None]
            n_open = config.n - len(finished)
            open_paths = {child.text: child for child in children if child.finish_reason is None}
            by_rank = sorted(open_paths.values(), key=lambda path: -aggregate(path.scores, config.aggregation))
            kept = by_rank[: -(-n_open // config.width)]
            if not kept:
                break
        usage = tree.usage
    finished += kept  # only after max_steps: open paths are unfinished candidates
    return [await _candidate(policy, grader, path, index, len(prompt_ids), name) for index, path in enumerate(finished)], usage


async def next_step(policy: LedgerPolicy, tree: ScoringTree, path: Path, n_prompt: int, params: SamplingParams, index: int) -> Path:
    """The `index`-th next step of a path, scored."""
    n_left = min(params.max_new_tokens - (len(path.token_ids) - n_prompt), policy.context_length - len(path.token_ids))
    if n_left < 1:
        return Path(path.token_ids, path.text, path.node, path.scores, path.logprobs, FinishReason.LENGTH)
    draw = await policy.sample(path.token_ids, params, index)
    text, is_open = path.text + draw.text, draw.finish_reason is FinishReason.STOP  # at the end of a step
    if params.stop_strings:
        whole = draw
        text, draw = StopStrings(policy.token_bytes(), params.stop_strings).cut(path.text, whole)
        is_open = is_open and draw is whole
    finish_reason = FinishReason.LENGTH if len(draw.token_ids) > n_left else None if is_open else draw.finish_reason
    node, scores = path.node, path.scores
    try:
        for step in split_steps(draw.text, params.stop or ""):
            node = tree.extend(node, step)
            scores = (*scores, await tree.score(node))
    except PathTooLongError:
        finish_reason = FinishReason.LENGTH
    return Path(path.token_ids + draw.token_ids, text, node, scores, path.logprobs + draw.logprobs, finish_reason)


async def _candidate(policy: LedgerPolicy, grader: Grader, path: Path, index: int, n_prompt: int, name: str) -> Candidate:
    finish_reason = path.finish_reason or FinishReason.LENGTH
    solution = Solution(policy.problem.problem_id, index, path.text, finish_reason, path.token_ids[n_prompt:], path.logprobs)
    candidate = as_candidate(await grade_any(grader, policy.problem, solution))
    return Candidate(**{**vars(candidate), "scores": {name: path.scores} if path.scores else {}})
