"""What `prm-train verify-export` says of what vLLM returned. That vLLM returns it is the subject of
test_vllm_scoring.py.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, set_seed

from data_gen.models.tokenizer import load_tokenizer
from data_gen.records.chats import Message
from data_gen.rows.layouts import EVIDENCE, PrmRow, write_rows
from data_gen.settings.errors import InputError
from prm_train import verify_export
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.generative_verifier import GENERATIVE_VERIFIER, verdict_encoding
from prm_train.kinds.lookup import write_facts
from prm_train.kinds.orm import ORM
from prm_train.kinds.paths import EncodedPath, ScoredPath
from prm_train.publishing.served_parity import (
    Comparison,
    Place,
    Subject,
    compare,
    config_faults,
    load_subject,
    read_paths,
    sample_paths,
)
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.settings import ScorerConfig
from tests.hub_server import Account, Hub, client_settings, serve

PATH = ScoredPath((Message("user", "Start with 3: plus 4, times 2."),), ("3 plus 4 = 7", "Answer: 7 4"))


def scorer(kind: Kind, tiny_policy: Path, folder: Path) -> Path:
    set_seed(0)
    model, encoding = build_scorer(kind, ScorerConfig(rows=Path(), output=Path(), model=str(tiny_policy)))
    save_scorer(model, encoding, CheckpointFacts(kind, encoding.facts, "none", "min"), folder)
    return folder


@pytest.fixture(scope="module")
def prm(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return load_subject(scorer("prm", tiny_policy, tmp_path_factory.mktemp("prm")), "float32")


def returned_for_all(subject: Subject, path: EncodedPath, shift: float = 0.0) -> list[list[float]]:
    """What vLLM's ALL pooling returns: a row for every token, those of steps as transformers has them but for
    `shift`.
    """
    rows = [[0.5, 0.5] for _ in path.ids]
    for position, score in zip(path.positions, subject.scores(path), strict=True):
        rows[position] = [1 - score - shift, score + shift]
    return rows


def test_scores_of_all_tokens_are_read_at_the_markers(prm):
    path = prm.encode(PATH)
    found = compare("ALL", [returned_for_all(prm, path, shift=0.001)], prm, prm, [path])
    assert found.n_scores == 2
    assert found.max_abs_difference == pytest.approx(0.001)
    assert not found.is_within(1e-5)
    assert found.is_within(0.002)


def test_no_score_for_the_steps_is_an_error_and_not_agreement(prm):
    path = prm.encode(PATH)
    found = compare("STEP", [[]], prm, prm, [path])
    assert found == Comparison("STEP", 0, None, None, error="path 0: got 0 scores from vLLM, expected 2")
    assert not found.is_within(math.inf)
    assert verify_export.table([found], 1e-5)[1].endswith(" none  path 0: got 0 scores from vLLM, expected 2")


def test_a_score_that_is_no_number_is_not_the_same(prm):
    path = prm.encode(PATH)
    rows = returned_for_all(prm, path)
    rows[path.positions[0]] = [math.nan, math.nan]
    assert not compare("ALL", [rows], prm, prm, [path]).is_within(1e-5)


def test_labels_in_the_wrong_order_are_found_in_scores_and_config(prm, tiny_policy, tmp_path):
    folder = scorer("prm", tiny_policy, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "good", "1": "bad"}, {"good": 0, "bad": 1}
    (folder / "config.json").write_text(json.dumps(config))
    swapped = load_subject(folder, "float32")
    path = swapped.encode(PATH)
    found = compare("ALL", [returned_for_all(swapped, path)], swapped, swapped, [path])
    first = swapped.scores(path)[0]
    assert abs(1 - 2 * first) > 1e-3
    assert not found.is_within(abs(1 - 2 * first) / 2)
    assert config_faults(swapped, [path], [path]) == [
        "labels: got id2label {0: 'good', 1: 'bad'}, label2id {'good': 0, 'bad': 1}; expected {0: 'bad', 1: "
        "'good'} and its inverse"
    ]
    assert config_faults(prm, [path], [path]) == []


def test_weights_that_are_not_those_of_the_reference_are_found(prm, tiny_policy, tmp_path):
    other = load_subject(scorer("prm", tiny_policy, tmp_path), "float32")
    other.model.score.weight.data = other.model.score.weight.data.flip(0)
    path = prm.encode(PATH)
    assert compare("ALL", [returned_for_all(other, path)], other, other, [path]).is_within(1e-6)
    assert not compare("ALL", [returned_for_all(other, path)], other, prm, [path]).is_within(1e-3)


def test_padding_that_is_eos_is_a_fault(prm, monkeypatch):
    path = prm.encode(PATH)
    monkeypatch.setattr(prm.model.config, "pad_token_id", prm.model.config.eos_token_id)
    (fault,) = config_faults(prm, [path], [path])
    assert fault.endswith("expected a padding token of its own")


def test_ids_other_than_the_references_are_a_fault(prm):
    path = prm.encode(PATH)
    assert config_faults(prm, [path, path], [path, EncodedPath((1, 2), (1,))]) == [
        "tokenizer: 1 of 2 paths have other ids than with the tokenizer of the reference"
    ]


@pytest.mark.parametrize(
    ("problem_type", "is_raw"), [("multi_label_classification", False), ("regression", True), (None, False)]
)
def test_an_orm_is_compared_as_its_problem_type_has_it_served(problem_type, is_raw, tiny_policy, tmp_path):
    orm = load_subject(scorer("orm", tiny_policy, tmp_path), "float32")
    path = orm.encode(PATH)
    (score,) = orm.scores(path)  # as trained: the sigmoid
    orm.model.config.problem_type = problem_type
    served = math.log(score / (1 - score)) if is_raw else score
    assert compare("LAST", [served], orm, orm, [path]).is_within(1e-6)
    assert not compare("LAST", [served + 0.1], orm, orm, [path]).is_within(1e-6)
    assert orm.tolerance("bfloat16") == (0.25 if is_raw else 0.05)  # a reward is as large as a logit


def test_an_orm_from_pairs_is_read_as_its_reward_and_may_be_labeled_so(tiny_policy, tmp_path):
    set_seed(0)
    model, encoding = build_scorer("orm", ScorerConfig(rows=Path(), output=Path(), model=str(tiny_policy)))
    save_scorer(
        model, encoding, CheckpointFacts("orm", encoding.facts, "pairs", "last", is_reward=True), tmp_path
    )
    orm = load_subject(tmp_path, "float32")
    path = orm.encode(PATH)
    with torch.no_grad():
        assert orm.scores(path) == [orm.model(input_ids=torch.tensor([path.ids])).logits.item()]
    assert config_faults(orm, [path], [path]) == []
    orm.model.config.update(ORM.head)
    assert config_faults(orm, [path], [path]) == [
        "labels: got id2label {0: 'correct'}, label2id {'correct': 0}; expected {0: 'reward'} and its inverse",  # noqa: E501
        "problem_type: got multi_label_classification, expected regression",
    ]


def test_a_language_model_of_this_project_is_read_on_its_own_rows_and_ids(tiny_policy, tmp_path):
    """A generative verifier: its steps stand behind the question that it answers."""
    model, encoding = AutoModelForCausalLM.from_pretrained(tiny_policy), load_tokenizer(str(tiny_policy))
    asked = verdict_encoding(encoding, EncodingFacts("chat", "\n", ""), "Right so far?")
    write_facts(GENERATIVE_VERIFIER.facts(asked, "prod"), model.config)
    model.save_pretrained(tmp_path)
    encoding.save_pretrained(tmp_path)
    evidence = {name: (nothing,) * 2 for name, nothing in EVIDENCE.items()}
    row = PrmRow("p", PATH.question, PATH.steps, (True, True), **evidence)  # type: ignore[arg-type]
    write_rows(tmp_path / "prm.jsonl", [row])
    subject = load_subject(tmp_path, "float32")
    assert (subject.kind.serving.name, subject.tolerance("float32")) == ("causal_lm", 1e-4)
    assert read_paths(tmp_path / "prm.jsonl", subject, 4) == [PATH]
    assert subject.encode(PATH).ids == asked.encode(PATH.question, PATH.steps)[0]


def test_of_a_language_model_the_log_probs_of_tokens_are_compared(tiny_policy):
    model = load_subject(tiny_policy, "float32")
    path = model.encode(PATH)
    assert (model.kind.serving.name, model.marker_id, path.positions) == ("causal_lm", None, ())
    log_probs = model.scores(path)
    assert len(log_probs) == len(path.ids) - 1
    assert max(log_probs) < 0
    assert compare("PROMPT_LOGPROBS", [log_probs], model, model, [path]).n_scores == len(path.ids) - 1


def test_scores_may_differ_by_a_tenth_of_the_tolerance_in_the_mean_and_log_probs_by_any():
    assert Comparison("ALL", 16, 0.04, 0.005).is_within(0.05)
    assert not Comparison("ALL", 16, 0.04, 0.0051).is_within(0.05)
    assert Comparison("PROMPT_LOGPROBS", 16, 0.2, 0.03).is_within(0.25)
    assert not Comparison("PROMPT_LOGPROBS", 16, 0.3, 0.03).is_within(0.25)
    assert not Comparison("PROMPT_LOGPROBS", 16, 0.2, math.nan).is_within(0.25)


def test_the_table_shows_the_places_that_differ_most():
    worst = (Place(3, 1, 0.25, 0.75), Place(0, 0, 0.5, 0.625))
    found = [
        Comparison("ALL", 16, 0.5, 0.1, worst),
        Comparison("STEP", 16, 2e-7, 1e-8, worst),
        Comparison("LAST", 15, 0.5, 0.1),  # too few for a bound of their mean
        Comparison("PROMPT_LOGPROBS", 16, 0.5, 0.1),
    ]
    lines = verify_export.table(found, 1e-5)
    assert lines == [
        "  read by           scores  largest difference      mean",
        "  ALL                   16             5.0e-01   1.0e-01  NOT THE SAME: expected at most 1e-05, in "
        "the mean 1e-06",
        "    path 3, score 1: transformers 0.250000, vLLM 0.750000",
        "    path 0, score 0: transformers 0.500000, vLLM 0.625000",
        "  STEP                  16             2.0e-07   1.0e-08  same",
        "  LAST                  15             5.0e-01   1.0e-01  NOT THE SAME: expected at most 1e-05",
        "  PROMPT_LOGPROBS       16             5.0e-01   1.0e-01  NOT THE SAME: expected at most 1e-05",
    ]


def test_sample_paths_are_always_the_same():
    assert sample_paths(4) == sample_paths(4)
    assert len({path.messages for path in sample_paths(4)}) == 4


def test_what_cannot_be_asked_is_refused_in_a_line(tiny_policy, tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        verify_export.main([str(tmp_path)])
    with pytest.raises(InputError, match="no interpreter at"):
        verify_export.main([str(tiny_policy), "--vllm_python", str(tmp_path / "python")])
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no such model' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(InputError, match="vLLM does not serve it; its last words:\nno such model"):
        verify_export.main([str(tiny_policy), "--vllm_python", str(broken)])


def test_a_model_is_asked_for_by_its_name_on_the_hub(tiny_policy, tmp_path):
    """As the cards of pushed models say. Python that stands for vLLM's says which folder it was given, and
    what is in it.
    """
    checkpoint = scorer("prm", tiny_policy, tmp_path / "prm")
    python = tmp_path / "python"
    python.write_text(f"""#!{sys.executable}
import json, pathlib, sys
request = json.loads(pathlib.Path(sys.argv[3]).read_text())
sys.exit(" ".join([request["kind"], *sorted(file.name for file in pathlib.Path(request["checkpoint"]).iterdir())]))
""")  # noqa: E501
    python.chmod(0o755)
    code = f"""
from pathlib import Path
from data_gen.settings.parse import InputError
from data_gen.publishing.hub import HubRepository, push_folder
from prm_train.verify_export import main
push_folder(Path({str(checkpoint)!r}), HubRepository("me/model", "model", True), "a message")
for name in ("me/model", "me/none"):
    try:
        main([name, "--vllm_python", {str(python)!r}])
    except InputError as fault:
        print(fault)
"""
    with serve(Hub({"secret": Account("me")})) as url:
        environment = os.environ | client_settings(url, home=tmp_path / "home", token="secret")
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
    assert run.returncode == 0, run.stderr[-2000:]
    refused, said, unknown = run.stdout.splitlines()[-3:]
    assert refused == "me/model: vLLM does not serve it; its last words:"
    assert said == "prm " + " ".join(sorted(file.name for file in checkpoint.iterdir()))
    assert unknown.startswith("model me/none: not loaded: 404 Client Error.")
