"""Intervals of a card, worked by hand."""

import math

import numpy as np
import pytest

from data_gen.rows import EVIDENCE, OrmPair, OrmRow, PrmRow
from prm_train.calibration import fits_calibration
from prm_train.checkpoints import Calibration, CheckpointFacts
from prm_train.encoding import EncodingFacts
from prm_train.held_out_quality import held_out_quality, is_probability, labels_of
from prm_train.plain_checkpoints import scorer_logits
from prm_train.targets import LabelAlgebra

ENCODING = EncodingFacts("chat", "\n", "<|step|>")
PRM, ORM = CheckpointFacts("prm", ENCODING, "", "min"), CheckpointFacts("orm", ENCODING, "", "last")
HARD = LabelAlgebra()
MEASURING = [question for question in map(str, range(20)) if not fits_calibration(question)]
FITTING = [question for question in map(str, range(20)) if fits_calibration(question)]


def test_order_and_distance_are_means_over_questions():
    """Question a: logits log 3 (score 3/4, right) and 0 (1/2, wrong); question b has right solutions alone, so no order."""
    logits = [np.array([math.log(3)]), np.array([0.0]), np.array([0.0])]
    found, n = held_out_quality(["a", "a", "b"], logits, [(True,), (False,), (True,)], ORM, with_brier=True)
    assert n == 2
    assert found["AUROC inside a question"].mean == 1.0
    assert found["Brier score"].mean == pytest.approx(((1 / 16 + 1 / 4) / 2 + 1 / 4) / 2)


def test_scores_are_the_calibrated_ones_on_questions_that_did_not_fit_the_calibration():
    calibration = Calibration("platt", 2.0, math.log(3))
    facts = CheckpointFacts("orm", ENCODING, "", "last", calibration)
    assert scorer_logits(facts, [1.0]).tolist() == [2 + math.log(3)]
    questions = [MEASURING[0], FITTING[0]]
    found, n = held_out_quality(questions, [scorer_logits(facts, [0.0])] * 2, [(True,), (False,)], facts, with_brier=True)
    assert n == 1
    assert found["Brier score"].mean == pytest.approx(1 / 16)  # sigmoid(log 3) = 3/4 against 1; uncalibrated it would be 1/4
    _, n = held_out_quality(questions, [np.zeros(1)] * 2, [(True,), (False,)], ORM, with_brier=True)
    assert n == 2


def test_the_scores_of_an_implicit_prm_are_of_sums_of_rewards():
    facts = CheckpointFacts("implicit_prm", ENCODING, "", "last", Calibration("platt", 2.0, 1.0))
    assert scorer_logits(facts, [0.5, 1.0, -2.0]).tolist() == [2.0, 4.0, 0.0]


def test_order_is_always_measured_and_distance_where_a_score_is_a_probability():
    found, _ = held_out_quality(["a", "a"], [np.array([2.0]), np.array([1.0])], [(False,), (True,)], ORM, with_brier=False)
    assert {name: interval.mean for name, interval in found.items()} == {"AUROC inside a question": 0.0}
    assert is_probability(PRM, HARD)
    assert not is_probability(PRM, LabelAlgebra(label_kind="soft"))
    assert not is_probability(PRM, LabelAlgebra(label_kind="likelihood"))
    assert is_probability(ORM, HARD)
    reward = CheckpointFacts("orm", ENCODING, "", "last", is_reward=True)
    calibrated = CheckpointFacts("orm", ENCODING, "", "last", Calibration("platt", 1.5, 0.5), is_reward=True)
    assert (is_probability(reward, HARD), is_probability(calibrated, HARD)) == (False, True)


def test_labels_are_the_targets_of_the_training():
    evidence = {name: (nothing,) * 3 for name, nothing in EVIDENCE.items()} | {"n_correct": (8, 2, 1), "n_rollouts": (8, 8, 8)}
    row = PrmRow("p", "q", ("a", "b", "c"), (True, False, True), **evidence)  # type: ignore[arg-type]
    assert labels_of(row, [3], PRM, HARD) == ((True, False, True),)
    assert labels_of(row, [3], PRM, LabelAlgebra(until_first_error=True)) == ((True, False, None),)
    assert labels_of(row, [3], PRM, LabelAlgebra(hard_threshold=0.2)) == ((True, True, False),)  # 8/8, 2/8, 1/8
    assert labels_of(row, [3], PRM, LabelAlgebra(label_kind="soft")) == ((True, False, False),)


def test_a_solution_has_one_label_an_implicit_prm_at_its_last_step():
    implicit = CheckpointFacts("implicit_prm", ENCODING, "", "last")
    assert labels_of(OrmRow("p", "q", "a\nb", False), [2], ORM, HARD) == ((False,),)
    assert labels_of(OrmRow("p", "q", "a\nb", False), [2], implicit, HARD) == ((None, False),)
    assert labels_of(OrmPair("p", "q", "a\nb", "c"), [2, 1], ORM, HARD) == ((True,), (False,))
