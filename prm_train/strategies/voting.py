"""Choosing one candidate of a problem: majority, weighted and vanilla best-of-N (Wang et al. 2023; Snell et
al. 2024, section 5.1).

Pure functions of the candidates in the order in which they were drawn, so that N samples are the first N of a
longer list. A candidate that is cut off or states no answer is never chosen and never votes. Every tie goes
to the earliest candidate. None as a choice means that nobody can be chosen, which counts as a wrong answer.
"""

import math
from collections.abc import Sequence
from typing import Literal

from data_gen.answers.vote_key import answer_key
from prm_train.encoding.aggregation import Aggregation, aggregate, log_score
from prm_train.strategies.candidates import Candidate

TreeVote = Literal["score", "weight", "prior", "prior_mean", "majority"]  # see `tree_votes`
ChainVote = Literal["hierarchical", "hierarchical_best"]  # see `chain_votes`
Vote = TreeVote | ChainVote


def majority_vote(candidates: Sequence[Candidate]) -> Candidate | None:
    """The earliest candidate with the most frequent answer."""
    return weighted_vote(candidates, [1.0] * len(candidates))


def weighted_vote(candidates: Sequence[Candidate], weights: Sequence[float | None]) -> Candidate | None:
    """The earliest candidate with the answer whose candidates weigh most in sum. A weight of None keeps a
    candidate out.

    Equal answers are those of one `answer_class` (see answer_classes.py), by default with one `answer_key`.
    Raises ValueError unless there is one weight a candidate, each 0 or more.
    """
    voters: dict[str, Candidate] = {}
    votes: dict[str, list[float]] = {}
    for candidate, weight in zip(candidates, weights, strict=True):
        if weight is None or candidate.answer is None or not candidate.is_finished:
            continue
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"weight of candidate {candidate.index} of {candidate.problem_id}: got {weight}, expected 0 "
                "or more"
            )
        key = class_of(candidate)
        voters.setdefault(key, candidate)
        votes.setdefault(key, []).append(weight)
    # exact sums: the order of the candidates must not decide between equal sums; max takes the first of them
    return voters[max(votes, key=lambda key: math.fsum(votes[key]))] if votes else None


def best_of(candidates: Sequence[Candidate], scores: Sequence[float | None]) -> Candidate | None:
    """The candidate with the highest score (vanilla best-of-N); None as a score keeps a candidate out. Raises
    ValueError for a NaN.
    """
    best, best_score = None, -math.inf
    for candidate, score in zip(candidates, scores, strict=True):
        if score is None or not candidate.can_vote:
            continue
        if math.isnan(score):
            raise ValueError(
                f"score of candidate {candidate.index} of {candidate.problem_id}: got nan, expected a number"
            )
        if best is None or score > best_score:
            best, best_score = candidate, score
    return best


def has_correct(candidates: Sequence[Candidate]) -> bool:
    """Whether any candidate is right (pass@N): the ceiling of every choice among them."""
    return any(candidate.is_correct for candidate in candidates)


def is_right(choice: Candidate | None) -> bool:
    """Whether a choice solved its problem."""
    return choice is not None and choice.is_correct


def path_scores(candidates: Sequence[Candidate], scorer: str, how: Aggregation) -> list[float | None]:
    """One score in [0, 1] a candidate from the step scores of a scorer; None for a candidate that it did not
    score.
    """
    return [
        aggregate(candidate.scores[scorer], how) if candidate.scores.get(scorer) else None
        for candidate in candidates
    ]


def logprob_scores(candidates: Sequence[Candidate], form: Literal["sum", "mean"]) -> list[float | None]:
    """The policy's own log-probability of each candidate, whole or per token: a score without a verifier. Its
    exponential is a weight.
    """
    return [
        None
        if not candidate.n_tokens
        else candidate.logprob_sum / (candidate.n_tokens if form == "mean" else 1)
        for candidate in candidates
    ]


def tree_votes(
    candidates: Sequence[Candidate], scorer: str, how: Aggregation, vote: Vote
) -> list[float | None]:
    """The weights of the candidates of a search in a vote.

    - `score`: the score of the path, as in weighted best-of-N.
    - `weight`: the weight of the path times its copies: a particle's weight, or the share of draws that gave
      the path times its score.
    - `prior`: its score times its probability under the policy (at temperature 1), once for each distinct
      text. Where one answer can be put in many words, that probability is mostly one of phrasing, and says
      little of the answer.
    - `prior_mean`: the same with the probability of a token, the geometric mean, in which length has no part.
    - `majority`: the same for all.
    - `hierarchical`, `hierarchical_best`: see `chain_votes`.

    All but `score`, `majority` and those of chains are relative to the heaviest candidate that can vote. None
    for candidates without a score or (but for `score`) without a vote.
    """
    scores = path_scores(candidates, scorer, how)
    if vote == "score":
        return scores
    if vote == "hierarchical" or vote == "hierarchical_best":
        return chain_votes(candidates, scores, vote)
    if vote == "majority":
        return [1.0 if candidate.can_vote else None for candidate in candidates]
    logs = list[float | None]()
    seen = set[str]()
    for candidate, score in zip(candidates, scores, strict=True):
        is_copy = vote != "weight" and candidate.text in seen
        if score is None or not candidate.can_vote or is_copy:
            logs.append(None)
        elif vote == "weight":
            logs.append(candidate.log_weight + math.log(candidate.multiplicity))
        else:
            seen.add(candidate.text)
            n = candidate.n_tokens if vote == "prior_mean" else 1
            logs.append(candidate.logprob_sum / max(n, 1) + log_score(score))
    highest = max((log for log in logs if log is not None), default=0.0)
    return [None if log is None else math.exp(log - highest) for log in logs]


def chain_votes(
    candidates: Sequence[Candidate], scores: Sequence[float | None], vote: ChainVote
) -> list[float | None]:
    """Of each chain of revisions one candidate votes, with its score (Snell et al. 2024, section 6.2).

    - `hierarchical`: the answer of a chain is the one whose attempts score most in sum; the best of these
      votes.
    - `hierarchical_best`: the best attempt of a chain votes.
    """
    chains: dict[int | None, list[int]] = {}
    for place, candidate in enumerate(candidates):
        chains.setdefault(candidate.chain, []).append(place)
    votes: list[float | None] = [None] * len(candidates)
    for places in chains.values():
        own, own_scores = [candidates[i] for i in places], [scores[i] for i in places]
        if vote == "hierarchical":
            elected = weighted_vote(own, own_scores)
            own_scores = [
                score if elected is not None and class_of(candidate) == class_of(elected) else None
                for candidate, score in zip(own, own_scores, strict=True)
            ]
        best = best_of(own, own_scores)
        if best is not None:
            place = next(i for i in places if candidates[i] is best)
            votes[place] = scores[place]
    return votes


def class_of(candidate: Candidate) -> str:
    """What a candidate that states an answer votes for."""
    return candidate.answer_class or answer_key(candidate.answer or "")
