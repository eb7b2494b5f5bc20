import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.grading.graders import load_grader
from data_gen.records.solutions import Problem
from prm_train.strategies.answer_classes import classify_answers, with_classes
from prm_train.strategies.candidates import Candidate, read_qwen_candidates
from prm_train.strategies.voting import (
    best_of,
    has_correct,
    is_right,
    logprob_scores,
    majority_vote,
    path_scores,
    tree_votes,
    weighted_vote,
)


def candidates(*answers: str | None, **fields: object) -> list[Candidate]:
    return [
        Candidate("p", index, f"text {index}", answer, answer == "7", **fields)  # type: ignore[arg-type]
        for index, answer in enumerate(answers)
    ]


def chosen(candidate: Candidate | None) -> int | None:
    return None if candidate is None else candidate.index


def test_the_majority_wins_and_is_shown_by_its_earliest_candidate() -> None:
    assert chosen(majority_vote(candidates("5", "7", "6", "7"))) == 1


def test_a_tie_goes_to_the_answer_that_came_first() -> None:
    assert chosen(majority_vote(candidates("5", "7", "7", "5"))) == 0
    mirrored = candidates("5", "5", "5", "7", "7", "7"), [0.3, 0.2, 0.1, 0.1, 0.2, 0.3]
    assert chosen(weighted_vote(*mirrored)) == 0  # added up in order, 0.6 against 0.6000000000000001
    assert chosen(best_of(candidates("5", "7"), [0.5, 0.5])) == 0


def test_equal_answers_in_other_words_vote_together() -> None:
    assert chosen(majority_vote(candidates("6", "1/2", "0.5", r"\frac{1}{2}", "6"))) == 1
    # Lists of values are not joined
    assert chosen(majority_vote(candidates("9 1 8", "91 8", "9 1 8", "91 8", "91 8"))) == 1


def test_candidates_without_an_answer_or_an_end_never_vote() -> None:
    cut = candidates("7", "7", is_finished=False)
    some = [*cut, *candidates(None, None, None, "5")]
    assert majority_vote(some) is some[5]
    assert best_of(some, [0.9, 0.9, 0.8, 0.8, 0.8, 0.1]) is some[5]
    assert majority_vote(cut) is None
    assert best_of(candidates(None), [1.0]) is None
    assert majority_vote([]) is None
    assert not is_right(None)


def test_equal_answers_that_are_written_otherwise_vote_together() -> None:
    some = candidates("6", "W = 3", "10", "3", "6", "\\sqrt{9}", None)
    grader = load_grader("math", "x")
    classes = asyncio.run(classify_answers(Problem("p", "What is W?", "?"), some, grader))
    assert classes == {"3": "W=3", "\\sqrt{9}": "W=3"}
    voters = with_classes(some, classes)
    assert chosen(majority_vote(some)) == 0  # three keys of one vote each against two for 6
    assert chosen(majority_vote(voters)) == 1
    assert chosen(weighted_vote(voters, [0.9, 0.5, 0.1, 0.5, 0.3, 0.3, None])) == 1


def test_weights_decide_a_vote_and_none_keeps_out() -> None:
    some = candidates("5", "5", "7")
    assert chosen(weighted_vote(some, [0.3, 0.3, 0.7])) == 2
    assert chosen(weighted_vote(some, [0.4, 0.4, 0.7])) == 0
    assert chosen(weighted_vote(some, [None, 0.4, 0.2])) == 1
    assert chosen(weighted_vote(some, [0.0, 0.0, 0.0])) == 0
    assert weighted_vote(some, [None, None, None]) is None


def test_vanilla_best_of_n_takes_the_highest_score_of_any_sign() -> None:
    some = candidates("5", "7", "6")
    assert chosen(best_of(some, [-3.0, -1.0, -2.0])) == 1
    assert chosen(best_of(some, [-math.inf, None, -math.inf])) == 0


def test_weights_and_scores_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight of candidate 1 of p: got -0\.5, expected 0 or more"):
        weighted_vote(candidates("5", "7"), [0.5, -0.5])
    with pytest.raises(ValueError, match="weight of candidate 0 of p: got nan"):
        weighted_vote(candidates("5"), [math.nan])
    with pytest.raises(ValueError, match="score of candidate 0 of p: got nan"):
        best_of(candidates("5"), [math.nan])
    with pytest.raises(ValueError, match="shorter"):
        weighted_vote(candidates("5", "7"), [1.0])


def test_path_scores_aggregate_the_scores_of_one_scorer() -> None:
    scored = candidates("7", scores={"prm": (0.5, 0.8), "orm": (0.3,)}) + candidates("5")
    assert path_scores(scored, "prm", "min") == [0.5, None]
    assert path_scores(scored, "prm", "last") == [0.8, None]
    assert path_scores(scored, "orm", "last") == [0.3, None]


def test_logprob_scores_are_whole_or_per_token() -> None:
    some = candidates("7", logprob_sum=-6.0, n_tokens=4) + candidates("5")
    assert logprob_scores(some, "sum") == [-6.0, None]
    assert logprob_scores(some, "mean") == [-1.5, None]


def test_votes_of_paths_are_by_score_by_weight_and_copies_or_by_score_and_probability() -> None:
    def path(text: str, score: float, log_weight: float, logprob: float, **facts: object) -> Candidate:
        scores = {"prm": (score,)}
        return Candidate(
            *("p", 0, text, "7", True),
            scores=scores,
            log_weight=log_weight,
            logprob_sum=logprob,
            **facts,  # type: ignore[arg-type]
        )

    some = [
        path("a", 0.5, -900.0, -3.0),
        path("b", 0.25, -901.0, -2.0, multiplicity=2),
        path("a", 0.5, -900.0, -3.0),
        path("cut", 0.9, 0.0, 0.0, is_finished=False),
        path("zero", 0.0, -2000.0, -1.0),
    ]
    assert tree_votes(some, "prm", "prod", "score") == [0.5, 0.25, 0.5, 0.9, 0.0]
    assert tree_votes(some, "prm", "prod", "weight") == [1.0, pytest.approx(2 / math.e), 1.0, None, 0.0]
    # a e⁻³ / 2 against b e⁻² / 4: the second is the heavier one by e / 2
    assert tree_votes(some, "prm", "prod", "prior") == [
        pytest.approx(2 / math.e),
        1.0,
        None,
        None,
        pytest.approx(0.0, abs=1e-300),
    ]
    assert tree_votes(some, "another", "prod", "weight") == [None] * 5


def test_pass_at_n_is_whether_any_is_right() -> None:
    assert has_correct(candidates("5", None, "7"))
    assert not has_correct(candidates("5", None))


def test_published_samples_give_the_published_accuracies(real_data: Path) -> None:
    problems = [some for _, some in read_qwen_candidates(real_data / "samples/qwen_math_cot_100.jsonl")]
    sizes = (1, 2, 4, 8)
    first = {n: [(some[:n], path_scores(some[:n], "rm", "last")) for some in problems] for n in sizes}
    assert [sum(is_right(majority_vote(some)) for some, _ in first[n]) for n in sizes] == [90, 90, 93, 93]
    assert [sum(is_right(best_of(some, scores)) for some, scores in first[n]) for n in sizes] == [
        90,
        93,
        93,
        94,
    ]
    assert sum(is_right(weighted_vote(some, scores)) for some, scores in first[8]) == 94
    assert sum(has_correct(some) for some, _ in first[8]) == 96


def test_in_a_hierarchical_vote_each_chain_elects_an_answer_and_the_best_of_it_votes() -> None:
    answers, chains = ("5", "5", "7", "6", None, "7"), (0, 0, 0, 1, 1, 2)
    some = [replace(each, chain=chain) for each, chain in zip(candidates(*answers), chains, strict=True)]
    scored = [
        replace(each, scores={"orm": (score,)})
        for each, score in zip(some, (0.3, 0.4, 0.6, 0.5, 0.9, 0.2), strict=True)
    ]
    # Chain 0 elects 5 (0.3 + 0.4 against 0.6), whose best attempt has 0.4
    assert tree_votes(scored, "orm", "last", "hierarchical") == [None, 0.4, None, 0.5, None, 0.2]
    assert chosen(weighted_vote(scored, tree_votes(scored, "orm", "last", "hierarchical"))) == 3
    # The best attempt of chain 0 says 7, as chain 2 does: 0.6 + 0.2 against 0.5
    assert tree_votes(scored, "orm", "last", "hierarchical_best") == [None, None, 0.6, 0.5, None, 0.2]
    assert chosen(weighted_vote(scored, tree_votes(scored, "orm", "last", "hierarchical_best"))) == 2
    alone = [replace(each, chain=index) for index, each in enumerate(scored)]  # every one its own chain
    flat = [0.3, 0.4, 0.6, 0.5, None, 0.2]  # the one without an answer cannot vote
    assert tree_votes(alone, "orm", "last", "hierarchical") == flat
    assert tree_votes(alone, "orm", "last", "hierarchical_best") == flat
    assert tree_votes(some, "orm", "last", "hierarchical") == [None] * 6  # nobody was scored
