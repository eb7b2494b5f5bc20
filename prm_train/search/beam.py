"""Beam search against a PRM (Snell et al. 2024, section 5.2): N paths, the best N / M of them get M next
steps each.

    draw N first steps
    until no path is open, or after max_steps rounds:
        score the new steps
        finished paths become candidates and leave the beam
        the best N / M of the distinct open paths stay; N next steps are drawn between them, M each

What differs from the paper, and why:

- The paper says nothing of paths that end early. Here they take no place from open ones: as long as N / M are
  open, so many go on, and long paths face no other pruning than short ones. All finished paths vote, so there
  may be more than N of them. Where fewer than N / M paths are open, copies counted, each gets M next steps. A
  search makes at most N draws a round and N x max_steps in all.
- A path that hits a limit is kept as unfinished; it takes no place and never votes.
- Equal paths are one path, whose copies' share of next steps goes to all that stay, so that N is spent.
- A step is scored when it is new and never again.
"""

from dataclasses import dataclass

from data_gen.grading.graders import Grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.sampling import SamplingParams
from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.scoring.protocol import Scorer, ScorerUsage
from prm_train.search.candidates import Candidate
from prm_train.search.paths import PathGrower, SearchPath


@dataclass(frozen=True)
class BeamConfig:
    """`n` paths (N in the paper) and `width` next steps drawn from each kept path (M).

    `aggregation` makes a path's rank of its step scores.
    """

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"


async def beam_search(
    policy: LedgerPolicy,
    grader: Grader,
    scorer: Scorer,
    name: str,
    params: SamplingParams,
    config: BeamConfig,
) -> tuple[list[Candidate], ScorerUsage]:
    """The candidates in the order in which they finished, scored under `name`. `params.stop` is the step
    separator.

    `params.max_new_tokens` bounds the whole path. Raises ValueError without a separator or with a scorer that
    cannot score single steps.
    """
    if params.stop is None:
        raise ValueError("beam search draws step by step: params.stop is None, expected the step separator")
    if not scorer.scores_steps:
        raise ValueError(
            f"beam search ranks unfinished paths: {scorer.scorer_id} scores finished ones only, expected a "
            "PRM"
        )
    ended, kept, n_draws = list[SearchPath](), [SearchPath()], config.n
    async with scorer.session(policy.problem.question) as tree:
        grower = PathGrower(policy, tree, params)
        for _ in range(config.max_steps):
            children = await side_by_side(
                grower.next_step(path, index)
                for path, share in zip(kept, even_shares(n_draws, len(kept)), strict=True)
                for index in range(share)
            )
            ended += [child for child in children if not child.is_open]
            opened = [child for child in children if child.is_open]
            n_draws = min(config.n, config.width * len(opened))
            n_kept = -(-n_draws // config.width)  # rounded up
            kept = best_distinct(opened, n_kept, config.aggregation)
            if not kept:
                break
        usage = tree.usage
    ended += kept  # only after max_steps
    return [await grower.candidate(path, grader, index, name) for index, path in enumerate(ended)], usage


def even_shares(n: int, n_parts: int) -> list[int]:
    """`n` in so many whole parts, as evenly as it goes, the larger ones first."""
    return [n // n_parts + (part < n % n_parts) for part in range(n_parts)]


def best_distinct(paths: list[SearchPath], n: int, how: Aggregation) -> list[SearchPath]:
    """At most `n` paths of different texts, those with the highest scores, the best first; ties go to the
    earliest.
    """
    distinct = {path.text: path for path in paths}
    return sorted(distinct.values(), key=lambda path: -aggregate(path.scores, how))[:n]
