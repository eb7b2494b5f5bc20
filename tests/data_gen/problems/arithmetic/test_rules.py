"""The built-in task: what its text says must be what its rules give."""

import random
from itertools import islice

import pytest

from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.rules import Chain


def test_a_chain_worked_by_hand():
    chain = Chain(3, (("fold", (4,)), ("times", (9,)), ("mix", (9,)), ("minus", (3,)), ("plus", (8,))))
    # fold: 21 + 12 + 16 = 49; times: 9 * 9 = 81; mix: 1 + 27 = 28; minus: 8 - 3 = 5; plus: 5 + 8 = 13
    assert chain.question() == "Start with 3: fold 4, times 9, mix 9, minus 3, plus 8."
    assert chain.gold_answer() == "9 1 8 5 3"
    assert rules.solution_text(chain, chain.totals()) == (
        "3 fold 4=9\n9 times 9=81, keep 1\n1 mix 9=8\n8 minus 3=5\n5 plus 8=13, keep 3\nAnswer: 9 1 8 5 3"
    )


def test_questions_and_totals_are_read_back():
    rng = random.Random(0)
    for _ in range(200):
        chain = rules.draw_chain(rng)
        assert rules.parse_question(chain.question()) == chain
        totals = rules.draw_attempt(chain, rng)
        read = rules.parse_totals(rules.solution_text(chain, totals))
        assert [total % 10 for total in read] == [total % 10 for total in totals]


def test_a_wrong_step_never_ends_in_the_right_answer():
    rng = random.Random(1)
    for _ in range(500):
        chain = rules.draw_chain(rng)
        totals = rules.draw_attempt(chain, rng)
        answer = rules.solution_text(chain, totals).rpartition("Answer: ")[2]
        assert (answer == chain.gold_answer()) == (rules.first_error(chain, totals) is None)


def test_misconceptions_hold_in_two_sevenths_of_the_contexts_and_are_the_most_likely_result_there():
    contexts = [(name, v, k) for name in ("times", "mix", "fold") for v in range(10) for k in range(10)]
    traps = [context for context in contexts if rules.is_misconception_context(*context)]
    assert 0.26 < len(traps) / len(contexts) < 0.31
    rng = random.Random(2)
    assert rules.is_misconception_context("times", 7, 0)
    assert rules.OPERATIONS["times"].total(7, 0) == 0
    drawn = [rules.draw_total("times", 7, (0,), rng) for _ in range(4000)]
    # 7 + 0 + 1, besides the noise that may also land on 8
    assert drawn.count(8) / 4000 == pytest.approx(0.65 * 0.9, abs=0.05)
    assert drawn.count(0) / 4000 == pytest.approx(0.35, abs=0.03)


def test_noise_always_changes_the_digit():
    rng = random.Random(3)
    wrong = [total for total in (rules.draw_total("plus", 4, (5,), rng) for _ in range(5000)) if total != 9]
    assert all(total % 10 != 9 for total in wrong)
    assert len(wrong) / 5000 == pytest.approx(0.02, abs=0.008)


def test_a_revision_keeps_what_is_right_and_mostly_repairs_the_first_error():
    rng = random.Random(4)
    chain = Chain(2, (("plus", (3,)), ("minus", (1,)), ("plus", (4,))))  # 5 4 8
    revisions = [rules.draw_revision(chain, [5, 7, 11], rng) for _ in range(2000)]
    assert all(revision[0] == 5 for revision in revisions)
    repaired = sum(revision[1] == 4 for revision in revisions) / 2000
    assert repaired == pytest.approx(0.7 + 0.3 * 0.95, abs=0.03)


def test_splits_share_no_question_and_a_seed_gives_the_same_problems():
    splits = {
        split: list(islice(rules.draw_problems(0, split), 300)) for split in ("train", "validation", "test")
    }
    questions = [problem.question for problems in splits.values() for problem in problems]
    assert len(set(questions)) == 900
    assert splits["test"] == list(islice(rules.draw_problems(0, "test"), 300))
    other_seed = {problem.question for problem in islice(rules.draw_problems(1, "train"), 300)}
    assert not other_seed & {problem.question for problem in splits["test"]}


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'dev': expected one of train, validation, test"):
        next(rules.draw_problems(0, "dev"))
