import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from data_gen.publishing.card import (
    COLUMN_WORDS,
    KIND_WORDS,
    Publication,
    fenced,
    front_matter,
    render,
    show_row,
    size_category,
)
from data_gen.publishing.facts import (
    DatasetFacts,
    JudgedFacts,
    KindFacts,
    RunFacts,
    SplitFacts,
    StepFacts,
    choose_example,
    step_facts,
)
from data_gen.rows.build_record import BuildRecord, Contamination, KindSummary
from data_gen.rows.contamination import TestSetMatches
from data_gen.rows.layouts import ROW_TYPES, PrmRow, features
from data_gen.rows.search_candidates import SearchTotals
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.parse import load_yaml

EXAMPLE = {
    "problem_id": "p1",
    "prompt": "1 + 1?",
    "completions": ["1 + 1 = 2", "Answer: 2"],
    "labels": [True, None],
}
RUN = RunFacts(
    folders=("runs/a", "runs/b"),
    sampled=("runs/a", "runs/b"),
    shards=("0/2", "1/2"),
    sampling={
        "problems": {"source": "gsm8k/train.jsonl", "split": None},
        "policy": {"model": "Qwen/Qwen2.5-1.5B", "prompt_template": "Solve.\n{question}"},
        **{"n_samples": 4, "temperature": 0.7, "max_new_tokens": 256, "step_separator": "\n"},
    },
    sample_settings={
        "problems": {"source": "gsm8k/train.jsonl"},
        "policy": {"model": "Qwen/Qwen2.5-1.5B", "prompt_template": "Solve.\n\n{question}"},
        "temperature": 0.7,
    },
    labeling={"method": "first_error", "n_rollouts": 8},
    n_solutions=400,
    verdicts={"correct": 100, "incorrect": 280, "unknown:truncated": 20},
    finish_reasons={"eos": 380, "length": 20},
    unlabeled={"truncated": 20},
    n_rollouts=1234,
    n_generated=98765,
    judged=None,
    policy_ids=("abc123",),
    graders=("math-1",),
)
FACTS = DatasetFacts(
    kinds=(
        KindFacts(
            "prm",
            (SplitFacts("train", 2000, 90), SplitFacts("validation", 1, 1)),
            {"problem_id": "string"},
            EXAMPLE,
        ),
        KindFacts("revision", (SplitFacts("train", 500, 40),), {"kind": "string"}, {"kind": "revision"}),
    ),
    n_problems=95,
    n_shared_problems=0,
    steps=StepFacts(
        {"true": 70, "false": 20, "null": 10},
        {("rollouts", "first_success"): 60, ("witness", "first_success"): 40},
        200,
        5,
        3,
    ),
    runs=(RUN,),
    build=BuildRecord(
        n_problems=100,
        prm=KindSummary(left_out={"duplicate": 9}),
        contamination=Contamination(
            {"math500": TestSetMatches(500, n_exact=2, n_overlap=1)},
            n_matching_problems=3,
            n_dropped_problems=3,
        ),
    ),
    build_settings={"validation_share": 0.1},
)
PUBLICATION = Publication("Steps", "mit", "user/steps")


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)


def test_front_matter_tells_the_hub_license_tags_and_files():
    assert front_matter(FACTS, PUBLICATION) == {
        "license": "mit",
        "language": ["en"],
        "pretty_name": "Steps",
        "task_categories": ["text-classification", "text-generation"],
        "tags": ["prm-train", "process-reward-model", "self-correction", "monte-carlo-rollouts", "reasoning"],
        "size_categories": ["1K<n<10K"],
        "configs": [
            {
                "config_name": "prm",
                "data_files": [
                    {"split": "train", "path": "prm/train-*.parquet"},
                    {"split": "validation", "path": "prm/validation-*.parquet"},
                ],
                "default": True,
            },
            {
                "config_name": "revision",
                "data_files": [{"split": "train", "path": "revision/train-*.parquet"}],
            },
        ],
    }


def test_the_card_begins_with_that_front_matter():
    _, matter, _ = render(FACTS, PUBLICATION).split("---\n", 2)
    assert yaml.safe_load(matter) == front_matter(FACTS, PUBLICATION)


@pytest.mark.parametrize(
    ("n_rows", "name"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (10**6 - 1, "100K<n<1M"),
        (10**6, "1M<n<10M"),
        (5 * 10**8, "100M<n<1B"),
    ],
)
def test_size_category(n_rows: int, name: str):
    assert size_category(n_rows) == name


def test_the_card_states_the_facts():
    card = render(FACTS, PUBLICATION)
    for line in [
        "Rows to train process reward models and revision models, made with prm-train",
        "| `prm` | `train` | 2,000 | 90 | a solution in steps, with a label for each step |",
        'rows = load_dataset("user/steps", "prm", split="train")',
        "| `true` | 70 | a rollout or a solution that runs through the step is right |",
        "| `rollouts` | `first_success` | 60 | rollouts were drawn from the end of the step, until one was "
        "right |",
        "Here 5 of 200 (2.5 %) did.",
        "of the false labels, 3 of 20 (15 %) rest on at least one of them.",
        "| problems | `gsm8k/train.jsonl` |",
        "| policy | `Qwen/Qwen2.5-1.5B` |",
        "| prompt | `prompt_template` below |",
        "| policy_id | `abc123` (hash of weights, tokenizer and prompt) |",
        "| solutions | 400, 4 a problem, at temperature 0.7, of at most 256 tokens |",
        '| steps | end with `"\\n"` |',
        "| verdicts | 100 correct, 280 incorrect, 20 unknown (truncated) |",
        "| rollouts | 1,234 drawn (one that serves several rows counts once), `n_rollouts` 8 |",
        "| not labeled | 20 solutions: truncated |",
        "The runs worked on 100 problems; 95 of them have rows.",
        "| `prm` | duplicate | 9 |",
        "Split by question: no problem has rows in more than one split, whatever the configuration.",
        "| math500 | 500 | 2 | 1 |",
        "`mit`, as its publisher states.",
    ]:
        assert line in card


def test_the_card_is_a_function_of_its_facts():
    assert render(FACTS, PUBLICATION) == render(FACTS, PUBLICATION)


def test_the_commands_name_each_shard():
    assert blocks(render(FACTS, PUBLICATION), "bash") == [
        "prm-train sample --config sample.yaml --output runs/a --problems.shard 0/2\n"
        "prm-train label --run runs/a --method first_error --n_rollouts 8\n"
        "prm-train sample --config sample.yaml --output runs/b --problems.shard 1/2\n"
        "prm-train label --run runs/b --method first_error --n_rollouts 8\n"
        "prm-train build --config build.yaml --runs runs/a,runs/b --output rows\n"
        "prm-train publish-data --rows rows --license mit --output dataset\n"
    ]


def test_a_judge_is_named_with_what_it_left_out():
    judged = JudgedFacts(
        "judge-72b", n_solutions=40, n_kept=30, left_out={"judge: earlier": 8, "judge unknown: no answer": 2}
    )
    run = replace(RUN, folders=("runs/agreed",), sampled=("runs/a",), shards=(None,), judged=judged)
    card = render(replace(FACTS, runs=(run,)), PUBLICATION)
    assert (
        "| judge | `judge-72b`: the 30 of 40 (75 %) labeled solutions were kept whose first error it "
        "confirmed |" in card
    )
    assert "| judge disagreed | 8 solutions: judge: earlier; 2 solutions: judge unknown: no answer |" in card
    assert blocks(card, "bash")[0].splitlines()[1:4] == [
        "prm-train label --run runs/a --method first_error --n_rollouts 8",
        "prm-train consensus --run runs/a --output runs/agreed  # judge: judge-72b",
        "prm-train build --config build.yaml --runs runs/agreed --output rows",
    ]


def test_a_run_without_settings_is_described_by_what_is_known():
    unknown = replace(RUN, sampling={}, sample_settings={}, labeling={}, policy_ids=())
    card = render(replace(FACTS, runs=(unknown,)), PUBLICATION)
    assert "| verdicts | 100 correct, 280 incorrect, 20 unknown (truncated) |" in card
    assert "| policy |" not in card


def test_the_shown_config_loads_as_the_config_it_shows(tmp_path: Path):
    sample, build = blocks(render(FACTS, PUBLICATION), "yaml")
    assert build == "validation_share: 0.1\n"
    (tmp_path / "sample.yaml").write_text(sample + "output: runs/a\n")
    config = load_yaml(SampleConfig, tmp_path / "sample.yaml")
    assert (config.problems.source, config.policy.prompt_template, config.temperature) == (
        "gsm8k/train.jsonl",
        "Solve.\n\n{question}",
        0.7,
    )


def test_the_example_is_the_row():
    assert json.loads(blocks(render(FACTS, PUBLICATION), "json")[0]) == EXAMPLE


def test_words_of_the_author_replace_the_source():
    card = render(FACTS, replace(PUBLICATION, problems="GSM8K (openai, MIT) | train"))
    assert "| problems | GSM8K (openai, MIT) \\| train |" in card


def test_other_ways_to_label_get_other_words():
    sequential = render(replace(FACTS, runs=(replace(RUN, labeling={"method": "sequential"}),)), PUBLICATION)
    assert (
        "| `true` | 70 | right, as the labeling method or the reading of its counts decides (see below) |"
        in sequential
    )
    threshold = render(
        replace(FACTS, build=BuildRecord(config={"labels": {"hard_threshold": 0.5}})), PUBLICATION
    )
    assert "| `false` | 20 | wrong, by the same rule |" in threshold


def test_rows_without_a_history_say_so():
    card = render(replace(FACTS, runs=(), build=BuildRecord(), steps=None, n_shared_problems=2), PUBLICATION)
    assert "The rows came without a record of how they were made." in card
    assert "What the step labels mean" not in card
    assert "The questions were not compared with any test set." in card
    assert "Split by question: 2 problems with rows in more than one split" in card


def test_rows_of_a_search_name_its_command_and_its_verifier():
    sampling = {**RUN.sampling, "prm": "prm"}
    run = replace(RUN, sampling=sampling, labeling={}, search=SearchTotals(64, 900, 300))
    card = render(replace(FACTS, runs=(run,), steps=None), PUBLICATION)
    assert "| candidates of a search | 64, " in card
    assert "| verifier | `prm`, 300 tokens read |" in card
    assert "prm-train search --config search.yaml --output " in card
    assert "`search.yaml`:" in card
    assert "| verdicts |" not in card


def test_every_column_is_explained():
    assert set(KIND_WORDS) == set(ROW_TYPES)
    columns = [(kind, name) for kind, row_type in ROW_TYPES.items() for name in features(row_type)]
    unexplained = [
        column for column in columns if column[1] not in COLUMN_WORDS["all"] | COLUMN_WORDS[column[0]]
    ]
    assert unexplained == []


# --- showing


def test_a_fence_is_longer_than_any_in_the_text():
    assert fenced("a\n```\nb\n", "text") == "````text\na\n```\nb\n````"


def test_a_row_is_shown_one_column_a_line_and_long_lists_of_texts_one_item_a_line():
    row = {"prompt": "é", "labels": (True, None) * 30, "completions": ("a" * 60, "b" * 60)}
    shown = show_row(row)
    assert json.loads(shown) == json.loads(json.dumps(row))
    assert shown.splitlines()[1] == '  "prompt": "é",'
    # Two braces, prompt, labels, completions with its brackets and two items
    assert len(shown.splitlines()) == 8


# --- counting


def prm_row(problem_id: str, labels: tuple[bool | None, ...], n_unknown: int = 0) -> PrmRow:
    n, method = len(labels), ("rollouts",) * (len(labels) - 1) + ("terminal",)
    return PrmRow(
        problem_id, "1?", ("step",) * n, labels, (0,) * n, (4,) * n, (n_unknown,) * n, ("fixed",) * n, method
    )


def test_step_facts():
    assert step_facts([prm_row("a", (True, False), n_unknown=1), prm_row("a", (False, None))]) == StepFacts(
        labels={"true": 1, "false": 2, "null": 1},
        evidence={("rollouts", "fixed"): 2, ("terminal", "fixed"): 2},
        n_rollouts=16,
        n_unknown=2,
        n_false_on_unknown=1,
    )


def test_the_example_shows_both_labels_and_is_short():
    plain, varied, long = (
        prm_row("a", (True,)),
        prm_row("b", (True, False)),
        prm_row("c", (True, True, False)),
    )
    assert choose_example([plain, long, varied]) is varied
    assert choose_example([plain]) is plain
