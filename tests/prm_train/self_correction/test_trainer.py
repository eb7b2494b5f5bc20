"""Which tokens the two stages touch, and trainings of a few steps with the policy that ships."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import Usage
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.kinds.load import load_checkpoint
from prm_train.self_correction import trainer as trainer_module
from prm_train.self_correction.chains import DrawnAttempt, TwoAttempts
from prm_train.self_correction.run import ScoreReport, build, curve, run_score, split_problems, tokens
from prm_train.self_correction.settings import TrainScoreConfig
from prm_train.self_correction.trainer import ScoreTrainer, padded
from prm_train.train_score import main


def config_in(folder: Path, **changes: Any) -> TrainScoreConfig:
    found = TrainScoreConfig(
        output=folder / "out",
        model="base",
        problems=ProblemSource(n=4),
        n_held_out=1,
        problems_per_step=1,
        chains_per_problem=2,
        max_new_tokens=120,
        stage_1_steps=1,
        stage_2_steps=2,
        learning_rate=1e-3,
        n_warmup_steps=0,
        n_steps_between_saves=1,
        n_steps_between_logs=1,
        use_cpu=True,
    )
    return replace(found, **changes)


def attempt(prompt: tuple[int, ...], written: tuple[int, ...], verdict: Verdict) -> DrawnAttempt:
    answer = None if verdict.is_unknown else "7"
    return DrawnAttempt(prompt, written, "", verdict, answer, Usage())


def chain(first: Verdict, second: Verdict) -> TwoAttempts:
    """Prompt 3 4, attempt 5 6; shown with the prompt again, attempt 7 8 9."""
    return TwoAttempts("p", attempt((3, 4), (5, 6), first), attempt((3, 4, 5, 6, 3, 4), (7, 8, 9), second))


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> ScoreTrainer:
    config = config_in(tmp_path_factory.mktemp("trainer"))
    return build(config, split_problems(config)[0])[0]


def batches(trainer: ScoreTrainer, chains: list[TwoAttempts], stage: int, **changes: Any) -> list[Any]:
    trainer.config = config_in(trainer.config.output.parent, **changes)
    return [
        (place, attempt.token_ids, credit.advantage, credit.kl_price)
        for place, batch in trainer._batches([chains], stage)
        for attempt, credit in batch
    ]


def test_padding_and_prompts_and_the_attempt_that_is_shown_are_not_learnt() -> None:
    both = chain(INCORRECT, CORRECT)
    assert both.second is not None
    rows = padded([both.first, both.second], 0, "cpu")
    assert rows.input_ids.tolist() == [[3, 4, 5, 6, 0, 0, 0, 0, 0], [3, 4, 5, 6, 3, 4, 7, 8, 9]]
    assert rows.is_written.int().tolist() == [[0, 0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1]]
    assert (rows.n_prompt, rows.n_kept) == (2, 8)  # the logits at position 1 choose the first token


def test_the_kl_of_stage_one_touches_first_attempts_alone(trainer: ScoreTrainer) -> None:
    chains = [chain(INCORRECT, CORRECT), chain(CORRECT, INCORRECT)]
    assert batches(trainer, chains, 1, kl_first=5.0, kl=0.0) == [
        (0, (5, 6), 0.0, 5.0),
        (0, (5, 6), 0.0, 5.0),
        (1, (7, 8, 9), 1.0, 0.0),
        (1, (7, 8, 9), -1.0, 0.0),
    ]


def test_unknown_verdicts_are_learnt_from_in_neither_place(trainer: ScoreTrainer) -> None:
    missing = unknown("no_answer")
    chains = [chain(missing, CORRECT), chain(CORRECT, missing), chain(INCORRECT, INCORRECT)]
    learnt = batches(trainer, chains, 2, alpha=1.0)
    # Of three chains two have a first reward; only one has a second, whose bonus is known
    assert [(place, advantage) for place, _, advantage, _ in learnt] == [(0, 1.0), (0, -1.0)]


def test_a_step_of_the_base_itself_costs_no_kl_and_its_gradient_is_that_of_the_written_tokens(
    trainer: ScoreTrainer,
) -> None:
    both = chain(INCORRECT, CORRECT)
    batches(trainer, [both, chain(CORRECT, INCORRECT)], 1)
    ((_, firsts), (_, seconds)) = list(trainer._batches([[both, chain(CORRECT, INCORRECT)]], 1))
    _, nats = trainer._losses(trainer.model, firsts)
    assert nats == pytest.approx(0.0, abs=1e-6)
    loss, _ = trainer._losses(trainer.model, seconds[:1])
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor([[3, 4, 5, 6, 3, 4, 7, 8, 9]])).logits[0]
        log_p = torch.log_softmax(logits, dim=-1)
    expected = -sum(log_p[5 + i, token].item() for i, token in enumerate((7, 8, 9)))  # advantage 1
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_tokens_of_a_training_are_counted_to_its_last_step() -> None:
    entries = [
        {"step": 2, "loss": 0.5, "attempts/accuracy_1": 0.5, "tokens/generated": 10.0},
        {"step": 3, "train_loss": 0.5, "attempts/accuracy_1": 0.25, "tokens/generated": 4.0},
    ]
    state = SimpleNamespace(log_history=entries)
    assert tokens(state) == {"generated": 24}  # 2 * 10 + 1 * 4
    assert curve(state)[1] == {"step": 3, "attempts/accuracy_1": 0.25, "tokens/generated": 4.0}


def test_a_killed_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = config_in(tmp_path / "whole")
    run_score(whole)
    report = ScoreReport.read(whole.output / "training" / "report.json")
    assert [entry["step"] for entry in report.curve] == [1, 2, 3]
    assert report.held_out is not None
    assert report.held_out["base"].n_problems == 1
    assert report.tokens["generated"] > 0
    assert not list((whole.output / "training").glob("checkpoint-*"))
    assert load_checkpoint(str(whole.output)).facts.kind == "revision"

    broken = config_in(tmp_path / "broken")
    step = ScoreTrainer.training_step

    def killed(self: ScoreTrainer, *inputs: Any, **more: Any) -> Any:
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return step(self, *inputs, **more)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ScoreTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run_score(broken)
    assert not (broken.output / "training" / "report.json").exists()
    run_score(broken)
    weights = "model.safetensors"
    assert (broken.output / weights).read_bytes() == (whole.output / weights).read_bytes()
    again = ScoreReport.read(broken.output / "training" / "report.json")
    without_time = [
        [{n: v for n, v in entry.items() if "second" not in n} for entry in each.curve]
        for each in (again, report)
    ]
    assert without_time[0] == without_time[1]

    with pytest.raises(InputError, match=r"alpha is 1\.0, got 3\.0"):
        run_score(replace(whole, alpha=3.0))
    before = (whole.output / weights).stat().st_mtime_ns
    run_score(whole)  # finished: nothing to do
    assert (whole.output / weights).stat().st_mtime_ns == before


def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 2 with n_held_out 2, expected some more to train on"):
        split_problems(config_in(tmp_path, problems=ProblemSource(n=2), n_held_out=2))
    with pytest.raises(ValueError, match="stage_1_steps, stage_2_steps: got 0 and 0"):
        config_in(tmp_path, stage_1_steps=0, stage_2_steps=0)
    with pytest.raises(InputError, match="no such folder"):
        main(["--model", str(tmp_path / "none"), "--output", str(tmp_path / "out")])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes").mkdir()
    with pytest.raises(InputError, match="holds notes and no training"):
        run_score(config_in(tmp_path, output=tmp_path / "taken"))


def test_the_folder_of_a_training_is_known_by_its_config(tmp_path: Path) -> None:
    settings = dump_config(config_in(tmp_path))
    assert {"problems", "output", "model", "stage_1_steps"} <= json.loads(json.dumps(settings)).keys()
