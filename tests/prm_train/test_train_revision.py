"""Revision models really trained on a tiny network, and their rates on chains worked by hand."""

import asyncio
import json
import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState

from data_gen import sample
from data_gen.grading.graders import load_grader
from data_gen.models.prompt_ids import encode_chain
from data_gen.policies.engine.transformers_policy import TransformersPolicy, load_policy
from data_gen.records.chats import Message
from data_gen.records.sampling import SamplingParams
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.rows.layouts import RevisionRow, read_rows, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.examples.examples import is_validation_question
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.load import load_checkpoint
from prm_train.metrics.revision_rates import NextAttempt, next_attempts, revision_rates, with_right_attempt
from prm_train.publish import PublishConfig, choose_paths
from prm_train.train_revision import main
from prm_train.training import revision as revision_training
from prm_train.training.config import TrainRevisionConfig
from prm_train.training.revision import RevisionTraining, StopAfterMinimum
from tests.two_processes import train_in_two

ROOT = Path(__file__).parents[2]


def row(i: int, n_attempts: int) -> RevisionRow:
    """The right answer is always 7, whatever the attempts before it."""
    question = Message("user", f"Start with {i}: plus 4.")
    wrong = [
        turn
        for k in range(n_attempts)
        for turn in (Message("assistant", f"{i} plus 4 = {k}\nAnswer: {k}"), question)
    ]
    right = Message("assistant", f"{i} plus 4 = 7\nAnswer: 7")
    return RevisionRow(
        f"p{i}",
        (question, *wrong),
        (right,),
        "revision" if n_attempts else "first_attempt",
        n_attempts,
        2,
        (0,),
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    write_rows(tmp_path / "revision.jsonl", [row(i, i % 3) for i in range(40)])
    return tmp_path / "revision.jsonl"


def arguments(rows: Path, tiny_policy: Path, output: Path, *more: str) -> list[str]:
    settings = {
        "rows": rows,
        "output": output,
        "model": tiny_policy,
        "learning_rate": 0.01,
        "n_epochs": 4.0,
        "validation_share": 0.3,
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [
        *words,
        "--grader",
        "arithmetic",
        "--batch_size",
        "4",
        "--use_cpu",
        "true",
        "--max_new_tokens",
        "40",
        *more,
    ]


def train(rows: Path, tiny_policy: Path, output: Path, *more: str) -> dict:
    main(arguments(rows, tiny_policy, output, *more))
    return json.loads((output / "training" / "report.json").read_text())


def test_a_forecast_makes_a_few_steps_and_revises_nothing(
    rows: Path, tiny_policy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        main(arguments(rows, tiny_policy, tmp_path / "model", "--forecast", "true"))
    assert "of which 5 were measured" in caplog.messages[-1]
    assert not (tmp_path / "model").exists()


def test_training_learns_the_answer_and_the_report_says_what_becomes_of_held_out_chains(
    rows, tiny_policy, tmp_path
):
    report = train(rows, tiny_policy, tmp_path / "model", "--n_epochs", "12.0")
    losses = [entry["loss"] for entry in report["validation"]]
    assert losses[-1] < 0.3 * losses[0]
    assert report["parity"]["max_abs_difference"] < 1e-4
    rates = report["revisions"]
    assert rates["n_chains"] > 0
    # "Answer: 7" is all there is to learn
    assert rates["wrong_to_correct"]["mean"] + rates["correct_to_correct"]["mean"] > 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.prm_train["kind"] == "revision"
    before = (tmp_path / "model" / "training" / "report.json").read_text()
    # Finished: nothing is trained or drawn again
    train(rows, tiny_policy, tmp_path / "model", "--n_epochs", "12.0")
    assert (tmp_path / "model" / "training" / "report.json").read_text() == before


@pytest.mark.usefixtures("unpacked_4bit")
def test_a_revision_model_runs_as_a_policy(rows, tiny_policy, tmp_path):
    quantized = ("--quantization", "nf4") if find_spec("bitsandbytes") else ()
    parity = train(
        rows, tiny_policy, tmp_path / "model", "--lora.rank", "4", "--n_revised_chains", "0", *quantized
    )["parity"]
    assert parity["max_abs_difference"] < 1e-5  # of the base in whole, into which the updates are merged
    assert not quantized or 1e-5 < parity["quantization_difference"] < 0.5
    problems = ("--problems.n", "3", "--policy.model", str(tmp_path / "model"))
    sample.main(["--output", str(tmp_path / "run"), *problems, "--max_new_tokens", "20"])
    assert len((tmp_path / "run" / "solutions.jsonl").read_text().splitlines()) == 12


def test_only_the_first_process_draws_in_the_dtype_of_the_training(rows, tiny_policy, tmp_path, monkeypatch):
    loaded: list[tuple[str, str]] = []

    def load_and_note(path: str, **settings: Any) -> TransformersPolicy:
        loaded.append((settings["dtype"], settings["device"]))
        return load_policy(path, **settings)

    monkeypatch.setattr(revision_training, "load_policy", load_and_note)
    settings = ("--n_epochs", "1.0", "--dtype", "bfloat16", "--n_revised_chains", "2")
    report = train(rows, tiny_policy, tmp_path, *settings)
    assert report.pop("revisions")["n_chains"] == 2
    assert loaded == [("bfloat16", "cpu")]
    path = tmp_path / "training" / "report.json"
    path.write_text(json.dumps(report))
    config = parse_config(TrainRevisionConfig, arguments(rows, tiny_policy, tmp_path, *settings))
    monkeypatch.setitem(PartialState._shared_state, "process_index", 1)
    revision_training.report_rates(read_rows(rows, RevisionRow), config)
    assert "revisions" not in json.loads(path.read_text())
    assert len(loaded) == 1


def test_accumulated_batches_give_the_loss_of_one(rows, tiny_policy, tmp_path):
    settings = (
        "--n_epochs",
        "1.0",
        "--n_revised_chains",
        "0",
        "--n_steps_between_logs",
        "1",
        "--max_grad_norm",
        "0.0",
    )
    whole = train(rows, tiny_policy, tmp_path / "a", *settings, "--batch_size", "8")
    parts = train(rows, tiny_policy, tmp_path / "b", *settings, "--batch_size", "2", "--n_accumulated", "4")
    for a, b in zip(whole["loss_curve"], parts["loss_curve"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


def evaluate(callback: StopAfterMinimum, losses: list[float]) -> bool:
    """Whether training stops after evaluations with these losses."""
    state, control = TrainerState(log_history=[{"eval_loss": loss} for loss in losses]), TrainerControl()
    callback.on_evaluate(None, state, control)
    return control.should_training_stop


def test_training_ends_so_many_evaluations_after_the_minimum():
    assert not evaluate(StopAfterMinimum(2), [1.0, 0.5, 0.6])
    assert evaluate(StopAfterMinimum(2), [1.0, 0.5, 0.6, 0.7])
    assert not evaluate(StopAfterMinimum(2), [1.0, 0.5, 0.6, 0.4, 0.5])  # a new minimum counts anew
    assert evaluate(StopAfterMinimum(0), [1.0])


@pytest.mark.parametrize("saves", [(), ("--n_steps_between_saves", "1")], ids=["once an epoch", "each step"])
def test_a_training_that_was_killed_when_it_had_ended_by_the_rule_makes_no_step_more(
    saves, rows, tiny_policy, tmp_path, monkeypatch
):
    # Ends with its first evaluation
    settings = ("--stop_after_minimum", "0", "--n_revised_chains", "0", *saves)
    whole = train(rows, tiny_policy, tmp_path / "whole", *settings)
    assert [entry["step"] for entry in whole["validation"]] == [whole["n_steps"]]
    with monkeypatch.context() as killed:
        killed.setattr(RevisionTraining, "save", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(rows, tiny_policy, tmp_path / "killed", *settings)
    resumed = train(rows, tiny_policy, tmp_path / "killed", *settings)
    assert resumed["n_steps"] == whole["n_steps"]
    assert resumed["validation"] == whole["validation"]
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_stopping_after_the_minimum_needs_a_validation_share(rows, tiny_policy, tmp_path):
    with pytest.raises(
        InputError, match=r"stop_after_minimum: got 1 with validation_share 0\.0 and keep last"
    ):
        train(rows, tiny_policy, tmp_path / "model", "--validation_share", "0.0", "--stop_after_minimum", "1")


def test_rates_are_means_over_questions_and_an_unknown_is_neither():
    attempts = [
        NextAttempt("a", 1, False, CORRECT),
        NextAttempt("a", 2, False, INCORRECT),
        NextAttempt("b", 1, False, CORRECT),
        NextAttempt("a", 1, True, CORRECT),
        NextAttempt("a", 2, True, unknown("truncated")),
        NextAttempt("b", 1, True, INCORRECT),
    ]
    rates = revision_rates(attempts)
    assert (rates.n_chains, rates.n_unknown) == (3, 1)
    assert rates.wrong_to_correct.mean == pytest.approx(0.75)  # (1/2 + 1) / 2
    assert rates.correct_to_correct.mean == pytest.approx(0.25)  # (1/2 + 0) / 2
    assert rates.correct_to_wrong.mean == pytest.approx(0.5)  # (0 + 1) / 2
    assert {n: each.mean for n, each in rates.wrong_to_correct_by_attempts.items()} == {1: 1.0, 2: 0.0}


def test_chains_beyond_the_context_lose_their_oldest_attempts_or_are_left_out_and_counted(tiny_policy):
    policy, grader = load_policy(str(tiny_policy)), load_grader("arithmetic", "")
    # The right attempt is as long as a wrong one
    lengths = [len(encode_chain(policy.tokenizer, row(3, n).prompt)) for n in range(4)]

    def draw(n_fitting: int) -> tuple[list[NextAttempt], int]:
        params = SamplingParams(policy.context_length - lengths[n_fitting], 0.0)
        return asyncio.run(
            next_attempts(policy, policy.tokenizer, grader, [row(3, 0), row(3, 1), row(3, 3)], params)
        )

    attempts, n_left_out = draw(2)
    assert [(each.n_attempts, each.was_right, each.is_shortened) for each in attempts] == [
        (1, False, False),
        (1, True, False),
        (2, False, True),
        (2, True, True),
    ]
    rates = revision_rates(attempts, n_left_out)
    assert (rates.n_chains, rates.n_shortened, rates.n_left_out) == (2, 2, 0)
    assert list(rates.wrong_to_correct_by_attempts) == [1, 2]
    assert draw(0) == ([], 2)


def test_a_training_whose_held_out_chains_are_beyond_the_context_says_so_and_ends(
    rows, tiny_policy, tmp_path, caplog
):
    report = train(rows, tiny_policy, tmp_path / "model", "--n_epochs", "1.0", "--max_new_tokens", "250")
    assert "revisions" not in report
    assert "and max_new_tokens 250 are beyond the context of 256 tokens: left out" in caplog.text


def test_the_right_answer_takes_the_place_of_the_last_attempt():
    chain = with_right_attempt(row(3, 2)).prompt
    assert [message.content for message in chain] == [
        "Start with 3: plus 4.",
        "3 plus 4 = 0\nAnswer: 0",
        "Start with 3: plus 4.",
        "3 plus 4 = 7\nAnswer: 7",
        "Start with 3: plus 4.",
    ]


def test_training_and_publishing_hold_out_questions_whatever_the_first_turn_says_besides(
    rows, tiny_policy, tmp_path
):
    made = read_rows(rows, RevisionRow)
    asked = [
        replace(each, prompt=(Message("user", f"{each.question} Think."), *each.prompt[1:])) for each in made
    ]
    write_rows(tmp_path / "asked.jsonl", asked)
    report = train(
        tmp_path / "asked.jsonl",
        tiny_policy,
        tmp_path / "model",
        "--n_epochs",
        "1.0",
        "--n_revised_chains",
        "0",
    )
    held_out = {each.question for each in made if is_validation_question(each.question, 0.3)}
    assert report["n_validation_rows"] == len(held_out) > 5
    config = PublishConfig(
        checkpoint=tmp_path / "model",
        rows=tmp_path / "asked.jsonl",
        output=tmp_path / "public",
        license="mit",
        n_rows=40,
    )
    checked, is_held_out = choose_paths(config, load_checkpoint(str(tmp_path / "model")), LabelAlgebra(), 0.3)
    assert is_held_out
    assert {each.question for each in checked} == held_out


def test_two_processes_take_every_row_once_and_learn_what_one_does(rows, tiny_policy, tmp_path):
    """Steps of 12 rows, the last of an epoch of fewer; 3 rows a pass, 2 passes a process."""
    settings = ("--n_epochs", "2.0", "--n_revised_chains", "0", "--n_steps_between_logs", "1")
    alone = train(rows, tiny_policy, tmp_path / "one", *settings, "--batch_size", "12")
    assert alone["n_training_rows"] % 12
    more = ("--batch_size", "3", "--n_accumulated", "2")  # the last of equal settings counts
    train_in_two(tmp_path / "meeting", main, arguments(rows, tiny_policy, tmp_path / "two", *settings, *more))
    both = json.loads((tmp_path / "two" / "training" / "report.json").read_text())
    assert len(both["loss_curve"]) == len(alone["loss_curve"]) == both["n_steps"]
    for step, other in zip(both["loss_curve"], alone["loss_curve"], strict=True):
        assert step["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert step["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(weight, others[name], atol=1e-3) for name, weight in weights.items())
