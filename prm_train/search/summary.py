"""What a search says of itself at its end: search.json, and the table for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_gen.files.result_tables import counted, result_table, token_words
from data_gen.files.run_clock import Seconds
from data_gen.files.stored_record import StoredRecord
from data_gen.records.sampling import Usage
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.failures import failures_in_words
from prm_train.search.results import ProblemResult


@dataclass(frozen=True, kw_only=True)
class SearchSummary(StoredRecord):
    """Totals: tokens of all draws, whoever made them, the scorers' tokens, the scored candidates without a
    verdict or a score.

    `too_long_for` names by reader (policy, prm, orm) the problems whose question fills its context; seconds
    are those of all processes. `failed` says by problem id why it has no candidates; `n_problems` counts it,
    too.
    """

    WRITTEN_BY = "`prm-train search`"

    n_problems: int
    n_candidates: int = 0
    n_without_verdict: int = 0
    n_without_score: int = 0
    too_long_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    n_generated: int
    n_prefilled: int
    n_cached: int
    n_scorer_new: int = 0
    n_scorer_reused: int = 0
    n_scorer_rescored: int = 0
    n_allocated: int = 0  # problems that an allocation answered, and what it solved and spent
    n_allocated_correct: int = 0
    n_allocated_tokens: int = 0
    seconds: float
    cpu_seconds: float = 0.0

    @property
    def usage(self) -> Usage:
        return Usage(self.n_generated, self.n_prefilled, self.n_cached)

    @property
    def scorer_usage(self) -> ScorerUsage:
        return ScorerUsage(self.n_scorer_new, self.n_scorer_reused, self.n_scorer_rescored)


def summarize(results: Sequence[ProblemResult], spent: Seconds) -> SearchSummary:
    usage = sum((result.usage for result in results), Usage())
    scorer = sum((result.scorer_usage for result in results), ScorerUsage())
    scored = [candidate for result in results if not result.failure for candidate in result.scored]
    allocated = [result.allocated for result in results if result.allocated is not None]
    names = {scoring.scorer for result in results for scoring in result.scorings}
    return SearchSummary(
        n_problems=len(results),
        n_candidates=len(scored),
        n_without_verdict=sum(candidate.is_unknown for candidate in scored),
        n_without_score=sum(len(candidate.scores) < len(names) for candidate in scored),
        too_long_for={
            name: tuple(result.problem.problem_id for result in results if name in result.too_long_for)
            for name in ("policy", "prm", "orm")
        },
        failed={result.problem.problem_id: result.failure for result in results if result.failure},
        n_generated=usage.n_generated,
        n_prefilled=usage.n_prefilled,
        n_cached=usage.n_cached,
        n_scorer_new=scorer.n_new,
        n_scorer_reused=scorer.n_reused,
        n_scorer_rescored=scorer.n_rescored,
        n_allocated=len(allocated),
        n_allocated_correct=sum(each.is_correct for each in allocated),
        n_allocated_tokens=sum(each.n_tokens for each in allocated),
        seconds=spent.seconds,
        cpu_seconds=spent.cpu_seconds,
    )


def search_table(summary: SearchSummary) -> str:
    scorer = {
        "new": summary.n_scorer_new,
        "reused": summary.n_scorer_reused,
        "scored_again": summary.n_scorer_rescored,
    }
    rows = {
        "problems": f"{summary.n_problems:,}",
        "candidates": f"{summary.n_candidates:,}",
        "of these": f"{summary.n_without_verdict:,} without a verdict, {summary.n_without_score:,} without a "
        "score",
        "too long": ", ".join(
            f"{len(ids):,} for the {name}" for name, ids in summary.too_long_for.items() if ids
        ),
        "failed": failures_in_words(summary.failed, summary.n_problems),
        "by allocation": allocated_words(summary),
        "policy's tokens": token_words(summary.usage),
        "scorers' tokens": counted(scorer),
        "time": f"{summary.seconds:,} s, those before an interrupt included",
    }
    return result_table(rows)


def allocated_words(summary: SearchSummary) -> str:
    """`61.2% solved, 1,234 tokens a problem`; empty without an allocation."""
    n = summary.n_allocated
    if not n:
        return ""
    solved, tokens = summary.n_allocated_correct / n, summary.n_allocated_tokens / n
    return f"{solved:.1%} solved, {tokens:,.0f} tokens a problem"
