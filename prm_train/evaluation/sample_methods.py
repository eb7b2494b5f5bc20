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
from prm_train.evaluation.choosing import Chosen, sample_counts
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
        early("majority", "_early", None, {n: chosen.majority[n] for n in counts}, all_alike),
        SampleMethod("pass_at_n", None, dict.fromkeys(counts, (t, anyone_right))),
    ]

    # Scorers have scored only the samples of one temperature, so there is none to choose.
    scorers: tuple[tuple[str, Aggregation, str, str], ...] = (
        ("prm", chosen.prm_aggregation, "prm_vanilla", "prm_weighted"),
        ("orm", "last", "orm_vanilla", "orm_weighted"),
    )
    for scorer, how, vanilla, weighted in scorers:
        if any(scorer in candidate.scores for result in results for candidate in result.scored):
            scores = scorer_scores(scorer, how)
            methods.append(
                SampleMethod(vanilla, scorer, dict.fromkeys(counts, (t, partial(best_by, scores))))
            )
            methods.append(
                SampleMethod(weighted, scorer, dict.fromkeys(counts, (t, partial(vote_by, scores))))
            )
            at = dict.fromkeys(counts, t)
            methods.append(early(weighted, "_early", scorer, at, scores))
            methods.append(early(weighted, "_margin", scorer, at, scores))
            methods.append(early(vanilla, "_margin", scorer, at, scores, best_by))
    return methods


def early(
    name: str,
    ending: str,
    scorer: str | None,
    temperatures: Mapping[int, float],
    weights: Scores,
    choose_by: Callable[[Scores, Sequence[Candidate]], Candidate | None] = vote_by,
) -> SampleMethod:
    """A selection that stops drawing when the rest will hardly change it (`strategies.stopping`, the rule of
    `ending`), replayed on the samples that are there.
    """

    def n_drawn(block: Sequence[Candidate]) -> int:
        return n_needed(block, weights(block), STOP_RULES[ending]) or len(block)

    def choose(block: Sequence[Candidate]) -> Candidate | None:
        return choose_by(weights, block[: n_drawn(block)])

    return SampleMethod(name + ending, scorer, {n: (t, choose) for n, t in temperatures.items()}, n_drawn)


def spelled(chosen: Mapping[int, float | tuple[float, str]]) -> str:
    """What was chosen for each N, in words: `from N=1: 0.7; from N=16: 1`. Neighbouring N with the same
    choice are one entry.
    """
    entries: list[str] = []
    last: object = None
    for n, choice in chosen.items():
        if choice != last:
            entries.append(
                f"from N={n}: {choice:g}"
                if isinstance(choice, float)
                else f"from N={n}: {choice[0]:g} {choice[1]}"
            )
        last = choice
    return "; ".join(entries)
