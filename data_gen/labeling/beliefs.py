"""What scorers believe of wrong solutions before any rollout: a prior for `posterior`, and the doubt by which
solutions are chosen.

`prm-train label --export_rows` writes the solutions that would get labels, any scorer of steps adds `scores`
to the rows (`prm-train score`), and `prm-train label --scores` reads them. A score s_i is the chance that
step i is right where those before it are, so the first error of a wrong solution is step i with a probability
in proportion to s_0 … s_(i-1) (1 - s_i).

Choosing what scorers doubt is the idea of ActPRM (Duan et al. 2025, arXiv 2504.10559), which leaves out a
solution if each step up to the predicted error is certain to its ensemble. Here the doubt of all steps is one
number: the chance, by the mean of the scorers' beliefs, that the first error is not where they say it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.files.jsonl import read_objects
from data_gen.settings.errors import InputError

Belief = tuple[float, ...]  # (K,) how probable it is that each of K steps is the first error
Beliefs = Mapping[str, Mapping[int, Belief]]  # problem id → sample index → belief
NO_DOUBT = "scorers_agree"  # why a solution gets no labels where doubt is asked for
NEVER_SURE = 0.001  # of a step; scores of 0 and 1 would leave a belief that no rollout can change


def belief(scores: Sequence[float]) -> Belief:
    """Of one scorer: (K,) that step i is the first error of a solution that is wrong."""
    right = np.clip(np.asarray(scores, dtype=float), NEVER_SURE, 1 - NEVER_SURE)
    joint = np.concatenate([[1.0], np.cumprod(right)[:-1]]) * (1 - right)
    return tuple((joint / joint.sum()).tolist())


def trusted(believed: Belief, trust: float) -> Belief:
    """The belief of scorers that are right in this share of their solutions, and know nothing in the
    others.
    """
    return tuple(trust * each + (1 - trust) / len(believed) for each in believed)


def doubt(believed: Belief) -> float:
    """The chance that the first error is not where it is most believed to be."""
    return 1 - max(believed)


def read_beliefs(paths: Sequence[Path]) -> Beliefs:
    """The mean belief of the scorers, a file each. A solution that a scorer could not read to its end (null
    among its scores) has the belief of the others, or none. Raises InputError naming file and line.
    """
    found = dict[tuple[str, int], list[Belief]]()
    for path in paths:
        own = dict[tuple[str, int], Belief | None]()
        for number, row in read_objects(path):
            where = f"{path}:{number}"
            key, scores = _key_of(row, where), checked_scores(row.get("scores"), where)
            if key in own:
                raise InputError(f"{path}:{number}: sample {key[1]} of {key[0]} a second time; expected once")
            own[key] = None if scores is None else belief(scores)
        for key, each in own.items():
            if each is not None:
                found.setdefault(key, []).append(each)
    beliefs = dict[str, dict[int, Belief]]()
    for key, of_scorers in found.items():
        beliefs.setdefault(key[0], {})[key[1]] = _mean(key, of_scorers)
    return beliefs


def check_of_run(beliefs: Beliefs, problem_ids: Iterable[str], run: Path) -> None:
    """Raises InputError where none of the scored solutions is of this run: nothing would come of them."""
    if beliefs and not any(problem_id in beliefs for problem_id in problem_ids):
        raise InputError(
            f"scores: of problem {next(iter(beliefs))} and others, none of which is in {run}; expected the "
            "rows that `prm-train label --export_rows` wrote of this run"
        )


def checked_scores(scores: object, where: str) -> Sequence[float] | None:
    """The scores of the steps of a solution; None where a scorer could not read it to its end (null among
    them). Raises InputError, with `where` before it, for anything but numbers from 0 to 1.
    """
    if isinstance(scores, np.ndarray):
        scores = scores.tolist()
    of_numbers = isinstance(scores, list | tuple) and all(
        each is None or (isinstance(each, Real) and 0 <= float(each) <= 1) for each in scores
    )
    if not of_numbers or not scores:
        raise InputError(
            f"{where}: scores: got {scores!r:.60}, expected numbers from 0 to 1, one for each step"
        )
    assert isinstance(scores, list | tuple)
    return None if None in scores else scores


def _key_of(row: Mapping[str, Any], where: str) -> tuple[str, int]:
    problem_id, index = row.get("problem_id"), row.get("index")
    if not isinstance(problem_id, str) or not isinstance(index, int):
        raise InputError(
            f"{where}: no problem_id and index; expected a row of `prm-train label --export_rows`"
        )
    return problem_id, index


def _mean(key: tuple[str, int], beliefs: Sequence[Belief]) -> Belief:
    if len({len(each) for each in beliefs}) > 1:
        raise InputError(
            f"scores of sample {key[1]} of {key[0]}: the files have "
            f"{', '.join(str(len(each)) for each in beliefs)} of them; expected one for each step in all"
        )
    return tuple(np.mean(beliefs, axis=0).tolist())
