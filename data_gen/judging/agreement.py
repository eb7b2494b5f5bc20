"""Consensus of Monte Carlo labels with a judge (Zhang et al. 2025, arXiv 2501.07301): keep a solution if both
name the same first error.

Rollouts answer whether a step can still be followed by a right answer, a judge whether it is right; where
they disagree, one of them is wrong. Keeping only agreement, "no error" included, left the authors about 40 %
of their solutions and a PRM better at finding errors. Solutions on which a judge's word is unknown are left
out and counted apart: unknown is no disagreement.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from data_gen.labeling.summary import ConsensusSummary
from data_gen.records.first_error import NO_ERROR, first_error_f1

Place = Literal["none", "same", "earlier", "later", "error", "unknown"]


def place_of(monte_carlo: int | None, judge: int | None) -> Place:
    """Where the judge's first error lies, seen from that of the labels. No error lies after every step, so
    any error is earlier.
    """
    if judge is None:
        return "unknown"
    if judge == NO_ERROR:
        return "none"
    if monte_carlo is None:
        return "error"
    if judge == monte_carlo:
        return "same"
    return "earlier" if monte_carlo == NO_ERROR or judge < monte_carlo else "later"


class Agreement:
    """Counts over solutions: first errors by both, verdicts, and why solutions are left out."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[int | None, int | None]] = Counter()
        self._left_out: Counter[str] = Counter()
        self._verdicts: Counter[tuple[str, str]] = Counter()

    def add(self, monte_carlo: int | None, judge: int | None, reason: str, verdict: str) -> bool:
        """Whether the solution is kept. `reason` says why the judge's word is unknown, `verdict` what the
        grader said of the answer.
        """
        self._pairs[monte_carlo, judge] += 1
        self._verdicts[verdict, "unknown" if judge is None else "none" if judge == NO_ERROR else "error"] += 1
        if monte_carlo is None:
            self._left_out["labels leave it open"] += 1
        elif judge is None:
            self._left_out[f"judge unknown: {reason}"] += 1
        elif judge != monte_carlo:
            self._left_out[f"judge: {place_of(monte_carlo, judge)}"] += 1
        return monte_carlo is not None and monte_carlo == judge

    def matrix(self) -> dict[str, dict[str, int]]:
        """Solutions by the labels' first error (none, error, unknown) and the place of the judge's."""
        matrix: dict[str, Counter[str]] = {}
        for (monte_carlo, judge), n in self._pairs.items():
            row = "unknown" if monte_carlo is None else "none" if monte_carlo == NO_ERROR else "error"
            matrix.setdefault(row, Counter())[place_of(monte_carlo, judge)] += n
        return {row: dict(sorted(places.items())) for row, places in sorted(matrix.items())}

    def summary(self, config: Mapping[str, Any]) -> ConsensusSummary:
        """`config` holds the settings of the command.

        `first_errors` lists [labels', judge's, solutions]; `f1` takes the judge as the truth, over the
        solutions that it judged.
        """
        n_solutions = self._pairs.total()
        n_kept = sum(
            n
            for (monte_carlo, judge), n in self._pairs.items()
            if monte_carlo is not None and monte_carlo == judge
        )
        judged = [
            (monte_carlo, judge)
            for (monte_carlo, judge), n in self._pairs.items()
            for _ in range(n)
            if judge is not None
        ]
        by_verdict: dict[str, dict[str, int]] = {}
        for (verdict, judged_as), n in sorted(self._verdicts.items()):
            by_verdict.setdefault(verdict, {})[judged_as] = n
        return ConsensusSummary(
            config=config,
            n_solutions=n_solutions,
            n_kept=n_kept,
            kept_share=round(n_kept / n_solutions, 4) if n_solutions else None,
            left_out=dict(sorted(self._left_out.items())),
            matrix=self.matrix(),
            judge_by_verdict=by_verdict,
            f1=first_error_f1([pair[0] for pair in judged], [pair[1] for pair in judged]),
            first_errors=sorted(((*pair, n) for pair, n in self._pairs.items()), key=str),
        )
