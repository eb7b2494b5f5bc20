"""`sample` and `label` on real GSM8K and MATH files with a small causal language model from a local
folder.
"""

import json
from pathlib import Path

import pytest

from data_gen.build import main as build
from data_gen.files.run_folder import read_records
from data_gen.label import main as label
from data_gen.models.tokenizer import train_tokenizer
from data_gen.pretrain import PretrainConfig, build_model
from data_gen.records.solutions import LabeledSolution
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A random network with a byte-level tokenizer that has seen some text of this kind."""
    tokenizer = train_tokenizer(
        ["Natalia sold 48 clips. How many altogether? #### 72", "Let $x=\\frac{1}{2}$."],
        vocab_size=300,
        context_length=1024,
    )
    model = build_model(
        PretrainConfig(
            hidden_size=32, n_layers=1, n_heads=2, n_kv_heads=1, intermediate_size=32, context_length=1024
        ),
        tokenizer,
    )
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    return str(tmp_path / "policy")


@pytest.mark.parametrize("name", ["gsm8k/test.jsonl", "math/math500.jsonl", "math/test.jsonl"])
def test_sample_and_label_take_real_problem_files(real_data: Path, tmp_path: Path, policy: str, name: str):
    run = tmp_path / "run"
    problems = [
        "--problems.source",
        str(real_data / name),
        "--problems.n",
        "4",
        "--problems.several_boxes",
        "leave_out",
    ]
    sample(
        [
            "--output",
            str(run),
            *problems,
            "--policy.model",
            policy,
            "--n_samples",
            "2",
            "--max_new_tokens",
            "12",
            "--step_separator",
            "\n\n",
        ]
    )
    facts = json.loads((run / "sample.json").read_text())
    assert facts["n_solutions"] == 8
    assert facts["pass_at_1"] == 0.0
    assert sum(count for verdict, count in facts["verdicts"].items() if verdict.startswith("unknown")) >= 6
    label(["--run", str(run)])
    counts = json.loads((run / "label.json").read_text())
    # What has no label is counted by its reason
    assert counts["n_labeled_solutions"] + sum(counts["unlabeled"].values()) == 8
    assert len(list(read_records(run / "labels.jsonl", LabeledSolution))) == counts["n_labeled_solutions"]
    build(["--runs", str(run), "--output", str(run / "rows")])
    assert json.loads((run / "rows" / "build.json").read_text())["n_problems"] == 4


def test_any_jsonl_names_its_fields_and_a_prompt_template_asks_the_question(tmp_path: Path, policy: str):
    (tmp_path / "mine.jsonl").write_text('{"task": "What is 1+1?", "solution_value": "2"}\n')
    fields = ["--problems.problem_field", "task", "--problems.answer_field", "solution_value"]
    template = ["--policy.prompt_template", "Q: {question} Answer in \\boxed{}."]
    common = [
        "--problems.source",
        str(tmp_path / "mine.jsonl"),
        *fields,
        "--policy.model",
        policy,
        "--max_new_tokens",
        "4",
    ]
    sample(["--output", str(tmp_path / "run"), *common, *template])
    assert json.loads((tmp_path / "run" / "problems.jsonl").read_text())["question"] == "What is 1+1?"
    with pytest.raises(InputError, match="this folder holds a run with another configuration: policy"):
        sample(["--output", str(tmp_path / "run"), *common])
    with pytest.raises(InputError, match=r"got 'no place', expected a text that holds \{question\}"):
        sample(["--output", str(tmp_path / "other"), *common, "--policy.prompt_template", "no place"])


def test_a_run_in_which_no_prompt_fits_the_context_is_refused(tmp_path: Path, policy: str):
    (tmp_path / "long.jsonl").write_text(json.dumps({"problem": "very " * 900, "answer": "2"}) + "\n")
    with pytest.raises(
        InputError,
        match=r"the prompt of problem [0-9a-f]{16}, as those of all 1, leaves no room in the policy's "
        r"context of 1024 tokens",
    ):
        sample(
            [
                "--output",
                str(tmp_path / "run"),
                "--problems.source",
                str(tmp_path / "long.jsonl"),
                "--policy.model",
                policy,
            ]
        )
