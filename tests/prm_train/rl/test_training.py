"""`grpo`, whole, on a policy of two layers and random scorers."""

import copy
import json
import re
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_gen.settings.errors import InputError
from prm_train.grpo import main
from prm_train.rewards.monitors import MonitorLimits
from prm_train.rl import training, validation
from prm_train.rl.curve import Curve, read_curve
from prm_train.rl.folder import BegunIn
from prm_train.rl.training import GrpoReport

SMALL = (
    *("--problems.n", "8", "--validation.n", "3", "--validation.split", "validation"),
    *("--n_prompts", "2", "--n_generations", "2", "--batch_size", "2", "--max_new_tokens", "12"),
    *("--n_steps", "4", "--n_steps_between_saves", "2", "--n_steps_between_validations", "2"),
    *("--learning_rate", "1e-3", "--wrong_reasons", "no_answer,truncated", "--use_cpu", "true"),
)


def train(folder: Path, policy: Path, scorers: dict[str, str], *more: str) -> list[dict[str, Any]]:
    scored = ("--prm", scorers["prm"], "--orm", scorers["orm"], "--format_pattern", r"^\d")
    main(["--output", str(folder), "--model", str(policy), *SMALL, *scored, *more])
    return read_curve(folder / "training" / "curve.jsonl")


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path, random_scorers: dict[str, str]
) -> Path:
    folder = tmp_path_factory.mktemp("grpo") / "whole"
    train(folder, tiny_policy, random_scorers)
    return folder


def test_a_training_moves_the_policy_and_says_what_it_saw(whole: Path, tiny_policy: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_policy, whole))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    lines = read_curve(whole / "training" / "curve.jsonl")
    steps = [line for line in lines if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        parts = [line[f"rewards/{name}/mean"] for name in ("outcome", "format", "orm")]
        assert line["reward"] == pytest.approx(parts[0] + 0.1 * parts[1] + parts[2], abs=1e-5)
        assert line["step_credit/n_steps"] >= 1
    looks = [line for line in lines if "validation/solved" in line]
    assert [line["step"] for line in looks] == [0, 2, 4]
    assert {line["validation/n_problems"] for line in looks} == {3}
    report = GrpoReport.read(whole / "training" / "report.json")
    lengths = [line["completions/mean_length"] for line in steps]
    assert (report.n_steps, report.n_completions) == (4, 16)
    assert report.n_tokens == round(4 * sum(lengths))
    assert (report.solved_before, report.solved) == (looks[0]["validation/solved"], 0.0)
    kept = {path.name for path in (whole / "training").iterdir()}
    assert kept == {"config.json", "models.json", "curve.jsonl", "report.json"}
    assert not list(whole.rglob("*.bin"))  # pickles


def test_a_training_that_was_broken_off_goes_on_and_ends_as_it_would_have(
    whole: Path,
    tmp_path: Path,
    tiny_policy: Path,
    random_scorers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class BrokenOffError(Exception):
        pass

    class Breaking(Curve):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise BrokenOffError

    monkeypatch.setattr(training, "Curve", Breaking)
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", tiny_policy, random_scorers)
    monkeypatch.undo()
    made = read_curve(tmp_path / "run" / "training" / "curve.jsonl")
    with pytest.raises(InputError, match=r"another configuration: seed is 0, got 1"):
        train(tmp_path / "run", tiny_policy, random_scorers, "--seed", "1")
    begun_in = tmp_path / "run" / "training" / "processes.json"
    assert BegunIn.read(begun_in).n_processes == 1
    BegunIn(2).write(begun_in)
    with pytest.raises(InputError, match=r"processes\.json: .* broken off with 2 processes, got 1"):
        train(tmp_path / "run", tiny_policy, random_scorers)
    BegunIn(1).write(begun_in)
    lines = train(tmp_path / "run", tiny_policy, random_scorers)
    assert lines[: len(made)] == made  # steps up to the checkpoint are not made again
    wanted = read_curve(whole / "training" / "curve.jsonl")
    assert [_without_time(line) for line in lines] == [_without_time(line) for line in wanted]
    found = load_file(tmp_path / "run" / "model.safetensors")
    for name, weight in load_file(whole / "model.safetensors").items():
        assert torch.equal(found[name], weight)


@pytest.mark.parametrize(("more", "last"), [((), 2), (("--stop_on_alarm", "true"), 1)])
def test_a_training_that_is_killed_while_it_is_saved_makes_no_further_step(
    more: tuple[str, ...],
    last: int,
    tmp_path: Path,
    tiny_policy: Path,
    random_scorers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KilledError(Exception):
        pass

    def killed(*arguments: Any) -> None:
        raise KilledError

    monkeypatch.setattr(MonitorLimits, "reasons", lambda *_: ["all is wrong"])
    copies: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", killed)
        patch.setattr(validation.copy, "deepcopy", _remembering(copies))
        settings = ("--n_steps", "2", "--n_steps_between_saves", "1", *more)  # half an epoch
        with pytest.raises(KilledError):
            train(tmp_path / "run", tiny_policy, random_scorers, *settings)
    assert [each() for each in copies] == [None, None]  # the weights are not held any longer than needed
    saved = load_file(tmp_path / "run" / "training" / f"checkpoint-{last}" / "model.safetensors")
    lines = train(tmp_path / "run", tiny_policy, random_scorers, *settings)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, last + 1))
    assert [line["step"] for line in lines if "validation/solved" in line] == [0, last]
    found = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(found[name], saved[name]) for name in found)


def _remembering(copies: list[Any]) -> Any:
    real = copy.deepcopy

    def deepcopy(thing: Any, *memo: Any) -> Any:
        found = real(thing, *memo)
        if isinstance(thing, torch.nn.Module) and not memo:
            copies.append(weakref.ref(found))
        return found

    return deepcopy


def test_a_finished_training_is_left_alone_and_another_is_refused(
    whole: Path, tiny_policy: Path, random_scorers: dict[str, str]
) -> None:
    before = (whole / "model.safetensors").read_bytes()
    (whole / "training" / "checkpoint-4").mkdir()  # as a kill behind the report leaves it
    train(whole, tiny_policy, random_scorers)
    assert (whole / "model.safetensors").read_bytes() == before
    assert not list(whole.glob("training/checkpoint-*"))
    with pytest.raises(InputError, match=r"another configuration: n_steps is 4, got 5"):
        train(whole, tiny_policy, random_scorers, "--n_steps", "5")


def test_a_base_that_is_not_there_and_an_orm_for_a_prm_are_refused(
    tmp_path: Path, tiny_policy: Path, random_scorers: dict[str, str]
) -> None:
    with pytest.raises(InputError, match=r"model .*nowhere: no such folder"):
        train(tmp_path / "run", tmp_path / "nowhere", random_scorers)
    with pytest.raises(InputError, match=r"an ORM, expected a PRM, which scores steps"):
        main(
            [
                *("--output", str(tmp_path / "run"), "--model", str(tiny_policy), *SMALL),
                *("--prm", random_scorers["orm"]),
            ]
        )


def test_too_few_problems_no_vllm_and_the_folder_of_the_policy_are_refused(
    tmp_path: Path, tiny_policy: Path, random_scorers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"problems arithmetic: got 1, expected at least n_prompts \(2\)"):
        train(tmp_path / "run", tiny_policy, random_scorers, "--problems.n", "1")
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"vllm: got colocate, and vLLM is not installed"):
        train(tmp_path / "run", tiny_policy, random_scorers, "--vllm", "colocate")
    own = shutil.copytree(tiny_policy, tmp_path / "own")
    with pytest.raises(InputError, match=r"holds the base model .*, which would be overwritten"):
        train(own, own, random_scorers)


def test_a_line_that_a_killed_process_cut_short_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 1, "reward": 0.5}\n{"step": 2, "reward": 0.25}\n{"step": 3, "rew')
    assert [line["step"] for line in read_curve(path)] == [1, 2]
    Curve(path, step=1)
    assert path.read_text() == json.dumps({"step": 1, "reward": 0.5}) + "\n"


def test_a_curve_that_begins_has_nothing_of_one_that_came_to_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 0, "validation/solved": 0.5}\n')
    Curve(path, step=0)
    assert read_curve(path) == []


def test_a_step_whose_rewards_are_all_unknown_is_in_the_curve(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.jsonl", step=0)
    logs = {"reward": None, "completions/mean_length": 12.0}
    curve.on_log(None, SimpleNamespace(is_world_process_zero=True, global_step=3), None, logs)
    assert read_curve(curve.path) == [{"step": 3, "completions/mean_length": 12.0}]


def _without_time(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if not re.search("seconds|step_time", name)}
