"""Intervals of a card, worked by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from data_gen.rows.layouts import EVIDENCE, AnyRow, OrmPair, OrmRow, PrmRow
from prm_train.checkpoints.facts import Calibration, CheckpointFacts
from prm_train.encoding.paths import EncodingFacts
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.lookup import kind_named
from prm_train.kinds.paths import Labels
from prm_train.kinds.score_meaning import ScoreMeaning
from prm_train.metrics.calibration import fits_calibration
from prm_train.metrics.ranking import Floats
from prm_train.publishing.held_out_quality import held_out_quality

ENCODING = EncodingFacts("chat", "\n", "<|step|>")
PRM, ORM = CheckpointFacts("prm", ENCODING, "", "min"), CheckpointFacts("orm", ENCODING, "", "last")
HARD = LabelAlgebra()
MEASURING = [question for question in map(str, range(40)) if not fits_calibration(question)]
FITTING = [question for question in map(str, range(40)) if fits_calibration(question)]


def scorer_logits(facts: CheckpointFacts, logits: Sequence[float]) -> Floats:
    return kind_named(facts.kind).scorer_logits(facts, logits)


def score_meaning(
    facts: CheckpointFacts, training: dict[str, str], calibration: LabelAlgebra | None
) -> ScoreMeaning:
    return kind_named(facts.kind).score_meaning(facts, training, calibration)


def labels_of(
    row: AnyRow, n_steps: list[int], facts: CheckpointFacts, algebra: LabelAlgebra
) -> tuple[Labels, ...]:
    return kind_named(facts.kind).labels(row, n_steps, algebra)


def test_order_and_distance_are_means_over_questions():
    """Questions a: logits log 3 (score 3/4, right) and 0 (1/2, wrong); questions b have right solutions
    alone, so no order.
    """
    questions = [name for i in range(5) for name in (f"a{i}", f"a{i}", f"b{i}")]
    logits = [np.array([math.log(3)]), np.array([0.0]), np.array([0.0])] * 5
    found = held_out_quality(questions, logits, [(True,), (False,), (True,)] * 5, ORM, with_brier=True)
    assert {name: each.n_questions for name, each in found.items()} == {
        "AUROC inside a question": 5,
        "Brier score": 10,
    }
    assert found["AUROC inside a question"].interval.mean == 1.0
    assert found["Brier score"].interval.mean == pytest.approx(((1 / 16 + 1 / 4) / 2 + 1 / 4) / 2)


def test_there_is_no_interval_over_a_handful_of_questions():
    """Four questions have an order, five have labels."""
    questions, labels = (
        [name for i in range(5) for name in (f"q{i}", f"q{i}")],
        [(True,), (False,)] * 4 + [(True,), (True,)],
    )
    assert list(held_out_quality(questions, [np.zeros(1)] * 10, labels, ORM, with_brier=True)) == [
        "Brier score"
    ]
    assert held_out_quality(questions[:8], [np.zeros(1)] * 8, labels[:8], ORM, with_brier=True) == {}


def test_scores_are_the_calibrated_ones_on_questions_that_did_not_fit_the_calibration():
    calibration = Calibration("platt", 2.0, math.log(3))
    facts = CheckpointFacts("orm", ENCODING, "", "last", calibration)
    assert scorer_logits(facts, [1.0]).tolist() == [2 + math.log(3)]
    questions = [*MEASURING[:5], *FITTING[:5]]
    labels = [(True,)] * 5 + [(False,)] * 5
    found = held_out_quality(questions, [scorer_logits(facts, [0.0])] * 10, labels, facts, with_brier=True)
    assert found["Brier score"].n_questions == 5
    # Sigmoid(log 3) = 3/4 against 1; uncalibrated it would be 1/4
    assert found["Brier score"].interval.mean == pytest.approx(1 / 16)
    assert (
        held_out_quality(questions, [np.zeros(1)] * 10, labels, ORM, with_brier=True)[
            "Brier score"
        ].n_questions
        == 10
    )


def test_the_scores_of_an_implicit_prm_are_of_sums_of_rewards():
    facts = CheckpointFacts("implicit_prm", ENCODING, "", "last", Calibration("platt", 2.0, 1.0))
    assert scorer_logits(facts, [0.5, 1.0, -2.0]).tolist() == [2.0, 4.0, 0.0]


def test_order_is_measured_where_distance_is_not():
    questions = [name for i in range(5) for name in (f"q{i}", f"q{i}")]
    found = held_out_quality(
        questions, [np.array([2.0]), np.array([1.0])] * 5, [(False,), (True,)] * 5, ORM, with_brier=False
    )
    assert {name: each.interval.mean for name, each in found.items()} == {"AUROC inside a question": 0.0}


def with_calibration(facts: CheckpointFacts, method: Literal["temperature", "platt"]) -> CheckpointFacts:
    return replace(facts, calibration=Calibration(method, 1.5, 0.5 if method == "platt" else 0.0))


def test_a_proper_loss_on_hard_labels_gives_probabilities_and_on_values_values():
    for loss in ("binary_cross_entropy", "cross_entropy", "mse"):
        assert score_meaning(PRM, {"loss": loss, "label_kind": "hard"}, None) == ScoreMeaning(
            HARD, "probability"
        )
    soft = {"loss": "binary_cross_entropy", "label_kind": "soft"}
    assert score_meaning(PRM, soft, None) == ScoreMeaning(LabelAlgebra(label_kind="soft"), "value")
    assert score_meaning(with_calibration(PRM, "temperature"), soft, None).says == "value"
    assert score_meaning(PRM, {}, None).says == "order"  # nobody knows how it was trained


@pytest.mark.parametrize("loss", ["pqm", "focal"])
def test_another_loss_gives_probabilities_only_by_platts_calibration(loss):
    training = {"loss": loss, "label_kind": "hard"}
    assert score_meaning(PRM, training, None).says == "order"
    assert score_meaning(with_calibration(PRM, "temperature"), training, None).says == "order"
    assert score_meaning(with_calibration(PRM, "platt"), training, None).says == "probability"


def test_scores_speak_of_the_labels_that_they_were_last_fitted_to():
    hard, soft = (
        {"loss": "binary_cross_entropy", "label_kind": "hard"},
        {"loss": "binary_cross_entropy", "label_kind": "soft"},
    )
    trained_hard = replace(with_calibration(PRM, "platt"), labels=HARD.semantics)
    value = LabelAlgebra(label_kind="soft")
    assert score_meaning(trained_hard, hard, value) == ScoreMeaning(value, "value", value.semantics)
    assert score_meaning(trained_hard, hard, HARD) == ScoreMeaning(HARD, "probability")
    trained_soft = replace(with_calibration(PRM, "platt"), labels=value.semantics)
    assert score_meaning(trained_soft, soft, HARD) == ScoreMeaning(HARD, "probability", HARD.semantics)
    tempered = replace(with_calibration(PRM, "temperature"), labels=HARD.semantics)
    # No zero point of values
    assert score_meaning(tempered, hard, value) == ScoreMeaning(value, "order", value.semantics)
    assert score_meaning(tempered, hard, HARD).says == "probability"


def test_outcomes_and_verdicts_are_probabilities_and_rewards_only_when_calibrated():
    assert score_meaning(ORM, {}, None).says == "probability"
    reward = replace(ORM, is_reward=True)
    assert score_meaning(reward, {}, None).says == "order"
    assert score_meaning(with_calibration(reward, "platt"), {}, None).says == "probability"
    verifier = CheckpointFacts("generative_verifier", ENCODING, "", "prod")
    assert score_meaning(verifier, {}, None) == ScoreMeaning(
        LabelAlgebra(until_first_error=True), "probability"
    )


def test_labels_are_the_targets_of_the_training():
    evidence = {name: (nothing,) * 3 for name, nothing in EVIDENCE.items()} | {
        "n_correct": (8, 2, 1),
        "n_rollouts": (8, 8, 8),
    }
    row = PrmRow("p", "q", ("a", "b", "c"), (True, False, True), **evidence)  # type: ignore[arg-type]
    assert labels_of(row, [3], PRM, HARD) == ((True, False, True),)
    assert labels_of(row, [3], PRM, LabelAlgebra(until_first_error=True)) == ((True, False, None),)
    # 8/8, 2/8, 1/8
    assert labels_of(row, [3], PRM, LabelAlgebra(hard_threshold=0.2)) == ((True, True, False),)
    assert labels_of(row, [3], PRM, LabelAlgebra(label_kind="soft")) == ((True, False, False),)


def test_a_solution_has_one_label_an_implicit_prm_at_its_last_step():
    implicit = CheckpointFacts("implicit_prm", ENCODING, "", "last")
    assert labels_of(OrmRow("p", "q", "a\nb", False), [2], ORM, HARD) == ((False,),)
    assert labels_of(OrmRow("p", "q", "a\nb", False), [2], implicit, HARD) == ((None, False),)
    assert labels_of(OrmPair("p", "q", "a\nb", "c"), [2, 1], ORM, HARD) == ((True,), (False,))
