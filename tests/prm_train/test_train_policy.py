"""A policy really trained on a tiny network: what it learns from, how it is asked, what it writes."""

import asyncio
from pathlib import Path

import pytest

from data_gen.models.prompt_layout import PromptLayout
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.records.sampling import SamplingParams
from data_gen.rows.layouts import DistillRow, OrmRow, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.metrics.training_report import TrainingReport
from prm_train.train_policy import main
from prm_train.training.config import TrainPolicyConfig
from prm_train.training.policy import PolicyTraining, first_attempts, read_solutions

TEMPLATE = "{question} Go on."


def rows(n: int = 40) -> list[OrmRow]:
    """All right solutions are the same text; a third of the questions has a wrong one, too."""
    return [
        OrmRow(f"p{i}", f"Start with {i}", f"plus 4 = {end}", end == 7)
        for i in range(n)
        for end in ([7, 9] if i % 3 == 0 else [7])
    ]


def arguments(path: Path, model: Path, output: Path) -> list[str]:
    settings = {
        "rows": path,
        "model": model,
        "output": output,
        "prompt_template": TEMPLATE,
        "use_cpu": "true",
    }
    recipe = {"learning_rate": 0.01, "n_epochs": 8.0, "batch_size": 4}
    return [word for name, value in (settings | recipe).items() for word in (f"--{name}", str(value))]


def test_only_right_solutions_are_learnt_behind_the_prompt_that_the_policy_is_asked_with(
    tmp_path: Path, tiny_policy: Path
) -> None:
    config = parse_config(TrainPolicyConfig, arguments(tmp_path / "none.jsonl", tiny_policy, tmp_path))
    training = PolicyTraining(rows(3), config)
    _, encoding = training.build()
    assert encoding.facts == ScorerEncoding(encoding.tokenizer, EncodingFacts("chat", "\n", "")).facts
    found = training.examples(encoding, 256)
    assert found.left_out == {"solutions labeled wrong": 1}
    assert [example.question for example in found.examples] == [
        "Start with 0",
        "Start with 1",
        "Start with 2",
    ]
    first, asked = found.examples[0], PromptLayout(TEMPLATE).encode(encoding.tokenizer, "Start with 0")
    assert first.input_ids[: first.positions[0]] == asked
    learnt = [first.input_ids[position] for position in first.positions]
    assert encoding.tokenizer.decode(learnt) == "plus 4 = 7<|end|>"


def test_a_trained_policy_writes_what_it_was_shown(tmp_path: Path, tiny_policy: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", rows())
    main(arguments(tmp_path / "rows.jsonl", tiny_policy, tmp_path / "policy"))
    report = TrainingReport.read(tmp_path / "policy" / "training" / "report.json")
    assert report.parity is not None
    assert report.parity.max_abs_difference < 1e-4
    policy = load_policy(str(tmp_path / "policy"), prompt=PromptLayout(TEMPLATE))
    prompt = policy.encode_prompt("Start with 5")
    drawn = asyncio.run(policy.sample(prompt, SamplingParams(40, 0.0), 0))
    assert b"".join(policy.token_bytes()[i] for i in drawn.token_ids).decode() == "plus 4 = 7"
    assert drawn.token_ids[-1] == policy.tokenizer.eos_token_id


def test_rows_without_labels_are_all_learnt_and_a_label_anywhere_makes_them_orm_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    distilled = [DistillRow("p", "Start", "plus 4 = 7"), DistillRow("q", "Start", "plus 4 = 9")]
    write_rows(path, distilled)
    found = read_solutions(path)
    assert found == distilled
    learnt = [row.completion[0].content for row in first_attempts(found, "{question}")]
    assert learnt == ["plus 4 = 7", "plus 4 = 9"]
    with path.open("a") as file:
        file.write('{"prompt": "Start", "completion": "wrong", "label": false}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:1: no OrmRow: no field label"):
        read_solutions(path)


def test_rows_of_which_none_is_right_are_refused(tmp_path: Path, tiny_policy: Path) -> None:
    config = parse_config(TrainPolicyConfig, arguments(tmp_path / "none.jsonl", tiny_policy, tmp_path))
    training = PolicyTraining([OrmRow("p", "Start", "wrong", False)], config)
    _, encoding = training.build()
    with pytest.raises(InputError, match="none of 1 rows is labeled right"):
        training.examples(encoding, 256)
