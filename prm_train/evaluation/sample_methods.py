"""Selections among the samples of a problem as methods of a report: majority, log-probability, scorers,
pass@N.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.baselines import CHOOSERS
from prm_train.evaluation.choosers import (
    Chooser,
    Scores,
    all_alike,
    anyone_right,
    best_by,
    by_logprob,
    scorer_scores,
    vote_by,
)
from prm_train.evaluation.choosing import Chosen, has_scores, sample_counts
from prm_train.evaluation.methods import STOP_RULES
from prm_train.search.results import ProblemResult
from prm_train.strategies.baselines import CONFIDENCE, READ_BY_POLICY
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.stopping import n_needed
from prm_train.strategies.voting import majority_vote


@dataclass(frozen=True)
class SampleMethod:
    """A way of selecting one of N samples. `at` gives for each N the temperature of the samples and what
    chooses among them.

    `scorer` names the one whose scores it needs, and whose tokens it therefore costs (`CONFIDENCE`: the
    policy, which reads the samples); None for methods that need nothing but the draws.
    """

    name: str
    scorer: str | None
    at: Mapping[int, tuple[float, Chooser]]
    n_drawn: Callable[[Sequence[Candidate]], int] = len  # of N samples, those that it draws before it stops


def sample_methods(results: Sequence[ProblemResult], chosen: Chosen) -> list[SampleMethod]:
    """The methods that select among samples, with the settings chosen. Searches in a tree are none of them:
    they draw their own candidates.
    """
    t = results[0].temperature
    counts = sample_counts(results)

    methods = [
        SampleMethod("majority", None, {n: (chosen.majority[n], majority_vote) for n in counts}),
        *(
            [
                SampleMethod(
                    "logprob",
                    None,
                    {n: (chosen.logprob[n][0], by_logprob(chosen.logprob[n][1])) for n in counts},
                )
            ]
            if chosen.logprob
            else []
        ),
        *(
            SampleMethod(
                name,
                CONFIDENCE if name in READ_BY_POLICY else None,
                {n: (at[n][0], CHOOSERS[name][at[n][1]]) for n in counts},
            )
            for name, at in chosen.baselines.items()
        ),
        early("majority", "_early", None, {n: (chosen.majority[n], all_alike) for n in counts}),
        SampleMethod("pass_at_n", None, dict.fromkeys(counts, (t, anyone_right))),
    ]

    # Scorers have scored only the samples of one temperature, so there is none to choose.
    for scorer in ("prm", "orm"):
        if has_scores(results, scorer):
            for form, choose in (("vanilla", best_by), ("weighted", vote_by)):
                name = f"{scorer}_{form}"
                at = {n: (t, scorer_scores(scorer, aggregation_of(chosen, name, n))) for n in counts}
                choosers = {n: (t, partial(choose, scores)) for n, (t, scores) in at.items()}
                methods.append(SampleMethod(name, scorer, choosers))
                endings = STOP_RULES if choose is vote_by else ("_margin",)
                methods += [early(name, ending, scorer, at, choose) for ending in endings]
    return methods


def aggregation_of(chosen: Chosen, method: str, n: int) -> Aggregation:
    """An ORM has one score."""
    return "last" if method.startswith("orm") else chosen.aggregation(method, n)


def early(
    name: str,
    ending: str,
    scorer: str | None,
    at: Mapping[int, tuple[float, Scores]],
    choose_by: Callable[[Scores, Sequence[Candidate]], Candidate | None] = vote_by,
) -> SampleMethod:
    """A selection that stops drawing when the rest will hardly change it (`strategies.stopping`, the rule of
    `ending`), replayed on the samples that are there. `at` gives for each N the temperature of the samples
    and their weights.
    """

    def n_drawn(block: Sequence[Candidate]) -> int:
        _, weights = at[len(block)]
        return n_needed(block, weights(block), STOP_RULES[ending]) or len(block)

    def choose(block: Sequence[Candidate]) -> Candidate | None:
        _, weights = at[len(block)]
        return choose_by(weights, block[: n_drawn(block)])

    return SampleMethod(name + ending, scorer, {n: (t, choose) for n, (t, _) in at.items()}, n_drawn)


def spelled(chosen: Mapping[int, float | str | tuple[float, str]]) -> str:
    """What was chosen for each N, in words: `from N=1: 0.7; from N=16: 1`. Neighbouring N with the same
    choice are one entry.
    """
    entries: list[str] = []
    last: object = None
    for n, choice in chosen.items():
        if choice != last:
            parts = choice if isinstance(choice, tuple) else (choice,)
            words = " ".join(f"{part:g}" if isinstance(part, float) else part for part in parts)
            entries.append(f"from N={n}: {words}")
        last = choice
    return "; ".join(entries)
