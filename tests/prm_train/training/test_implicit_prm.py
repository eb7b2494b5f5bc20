import asyncio
import functools
import json
import math
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from data_gen.models.tokenizer import load_tokenizer
from data_gen.rows.layouts import OrmRow
from data_gen.settings.errors import ConfigError, InputError
from prm_train.checkpoints.facts import Calibration, read_facts, store_calibration
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.implicit_prm import IMPLICIT_PRM, TextEncoding
from prm_train.kinds.load import load_classifier, load_scorer
from prm_train.networks.token_log_probs import token_log_probs
from prm_train.scoring.implicit import ImplicitPrmScorer
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.strategies.best_of_n import path_nodes, score_path
from prm_train.train_implicit_prm import main
from prm_train.training.implicit import ImplicitExample, implicit_examples, solution_log_probs
from tests.tiny_models import tiny_config, tiny_model

QUESTION, STEPS = "Start with 3: plus 4, times 2.", ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4")
ENCODING = EncodingFacts("chat", "\n", "")


def in_event_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


def changed(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model with a little noise on all weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def scorer(tiny_policy: Path) -> ImplicitPrmScorer:
    model, reference = (
        AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float64) for _ in range(2)
    )
    encoding = TextEncoding(load_tokenizer(str(tiny_policy)), ENCODING)
    return ImplicitPrmScorer(changed(model, 1), reference, encoding, scorer_id="id", beta=0.5)


@in_event_loop
async def test_steps_of_a_path_that_are_asked_for_side_by_side_are_computed_once(scorer) -> None:
    async with SharedScorer(scorer) as shared, shared.session(QUESTION) as tree:
        nodes = path_nodes(tree, STEPS)
        await asyncio.gather(*map(tree.score, nodes[1:]))
        # By the model and by its reference
        n_tokens = sum(len(node.token_ids) for node in nodes)
        assert tree.usage == shared.usage == ScorerUsage(n_new=2 * n_tokens)


def log_prob(model: torch.nn.Module, ids: list[int], n_before: int) -> float:
    """log p(ids[n_before:] | ids[:n_before]), one token after the other, each from the text before it
    alone.
    """
    with torch.no_grad():
        return sum(
            model(input_ids=torch.tensor([ids[:i]])).logits[0, -1].log_softmax(0)[ids[i]].item()
            for i in range(n_before, len(ids))
        )


def test_token_log_probs_worked_by_hand():
    # Odds 1:1, then 3:1; the last position predicts nothing
    half = torch.tensor([[[0.0, 0.0], [1.0986122886681098, 0.0], [5.0, 5.0]]])
    assert token_log_probs(half, torch.tensor([[0, 1, 0]]))[0].exp().tolist() == pytest.approx(
        [1.0, 0.5, 0.75]
    )
    assert token_log_probs(half[:, 1:], torch.tensor([[0, 1, 0]]))[0].exp().tolist() == pytest.approx(
        [1.0, 1.0, 0.75]
    )


@in_event_loop
async def test_a_steps_reward_is_its_log_ratio_and_rewards_add_up_to_that_of_the_whole(scorer):
    async with scorer.session(QUESTION) as tree:
        node, ids = tree.root, list(tree.root.token_ids)
        head = len(ids)
        for step in STEPS:
            node = tree.extend(node, step)
            before, ids = len(ids), [*ids, *node.token_ids]
            expected = 0.5 * (log_prob(scorer.model, ids, before) - log_prob(scorer.reference, ids, before))
            assert tree.reward(node) == pytest.approx(expected, abs=1e-9)
            assert abs(expected) > 0.01
        whole = 0.5 * (log_prob(scorer.model, ids, head) - log_prob(scorer.reference, ids, head))
        assert sum(tree.reward(each) for each in node.path()[1:]) == pytest.approx(whole, abs=1e-9)
        assert await tree.score(node) == pytest.approx(1 / (1 + math.exp(-whole)), abs=1e-9)


@in_event_loop
async def test_scores_of_a_path_do_not_depend_on_how_it_was_asked_for(scorer):
    async with scorer.session(QUESTION) as tree:
        at_once = await score_path(tree, STEPS, scores_steps=True)
        n_tokens = sum(
            len(ids)
            for ids in (scorer.encoding.encode_head(QUESTION), *map(scorer.encoding.encode_step, STEPS))
        )
        assert tree.usage == ScorerUsage(n_new=2 * n_tokens)  # one pass of each model, however many steps
        assert tree.usage.n_pairs == n_tokens * (n_tokens + 1)
        assert tree.path_tokens(path_nodes(tree, STEPS)) == (2 * n_tokens,)
    async with scorer.session(QUESTION) as tree:
        node, one_by_one = tree.root, []
        for step in STEPS:
            assert tree.extend(node, step) is tree.extend(node, step)
            node = tree.extend(node, step)
            tree.extend(node, "another way")
            one_by_one.append(await tree.score(node))
    assert one_by_one == pytest.approx(at_once, abs=1e-12)


@in_event_loop
async def test_beyond_the_short_length_of_longrope_a_score_is_that_of_the_whole_path_and_rewards_add_up(
    tiny_policy,
):
    encoding = TextEncoding(load_tokenizer(str(tiny_policy)), ENCODING)
    settings = tiny_config("phi3|longrope", len(encoding.tokenizer), pad_token_id=0)
    model, reference = (tiny_model(AutoModelForCausalLM, settings).double() for _ in range(2))
    scorer, ids = (
        ImplicitPrmScorer(changed(model, 1), reference, encoding, scorer_id="id", beta=0.5),
        list(encoding.encode_head(QUESTION)),
    )
    n_head, steps, scores, lengths = len(ids), (*STEPS, "and so on, and on, and on", "the end"), [], []
    async with scorer.session(QUESTION) as tree:
        node = tree.root
        for step in steps:
            node = tree.extend(node, step)
            ids += node.token_ids
            tensor = torch.tensor([ids])
            with torch.no_grad():
                found, other = (
                    token_log_probs(each(input_ids=tensor, use_cache=False).logits, tensor)
                    for each in (model, reference)
                )
            scores.append((0.5 * (found - other)[0, n_head:].sum()).sigmoid().item())
            lengths.append(len(ids))
    assert lengths[0] < 64 < lengths[-2]
    for is_at_once in (False, True):
        async with scorer.session(QUESTION) as tree:
            nodes = [tree.root]
            for step in steps:
                nodes.append(tree.extend(nodes[-1], step))
            for each in nodes[:0:-1] if is_at_once else nodes[1:]:
                await tree.score(each)
            assert [await tree.score(each) for each in nodes[1:]] == pytest.approx(scores, abs=1e-6)


@in_event_loop
async def test_blank_steps_long_paths_and_the_root_are_refused(scorer):
    async with scorer.session(QUESTION) as tree:
        with pytest.raises(ValueError, match=r"step ' ': got a blank step"):
            tree.extend(tree.root, " ")
        with pytest.raises(PathTooLongError, match="longer than the scorer's context of 256"):
            tree.extend(tree.root, "1" * 300)
        with pytest.raises(ValueError, match="the question alone has no score"):
            await tree.score(tree.root)


def test_log_probs_of_a_batch_ignore_the_question_and_padding(tiny_policy):
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float64)
    ids = [list(range(20, 30)), list(range(40, 46))]
    batch = {
        "input_ids": torch.tensor([ids[0], ids[1] + [0] * 4]),
        "n_head": torch.tensor([[4], [3]]),
        "n_tokens": torch.tensor([[10], [6]]),
    }
    expected = [log_prob(model, ids[0], 4), log_prob(model, ids[1], 3)]
    assert solution_log_probs(model, batch)[:, 0].tolist() == pytest.approx(expected, abs=1e-9)


def test_an_example_has_no_marker(tiny_policy):
    encoding = TextEncoding(load_tokenizer(str(tiny_policy)), ENCODING)
    (example,) = implicit_examples(
        [OrmRow("p", "Start with 3", "3 plus 4 = 7\n\nAnswer: 7", True)], encoding, 100
    ).examples
    assert isinstance(example, ImplicitExample)
    assert (
        encoding.tokenizer.decode(example.input_ids)
        == "<|user|>Start with 3<|end|><|assistant|>3 plus 4 = 7\nAnswer: 7\n"
    )
    assert encoding.tokenizer.decode(example.input_ids[example.n_head :]) == "3 plus 4 = 7\nAnswer: 7\n"


def train(rows: Path, policy: Path, output: Path, *more: str) -> dict:
    settings = {
        "rows": rows,
        "output": output,
        "model": policy,
        "learning_rate": 0.01,
        "validation_share": 0.3,
        "batch_size": 4,
    }
    main([word for name, value in settings.items() for word in (f"--{name}", str(value))] + list(more))
    return json.loads((output / "training" / "report.json").read_text())


def test_the_loss_is_the_mean_over_rows_however_a_step_is_cut(orm_rows, tiny_policy, tmp_path):
    for name, batch_size, n_accumulated in (("whole", "8", "1"), ("cut", "2", "4")):
        more = (
            "--n_accumulated",
            n_accumulated,
            "--n_steps_between_logs",
            "1",
            "--n_epochs",
            "0.5",
            "--dtype",
            "float64",
            "--beta",
            "1",
        )
        report = train(orm_rows, tiny_policy, tmp_path / name, *more, "--batch_size", batch_size)
        losses = [entry["loss"] for entry in report["loss_curve"]]
        assert losses[0] == pytest.approx(math.log(2), abs=1e-6)  # every log-ratio is 0 before training
        if name == "whole":
            expected = losses
    assert losses == pytest.approx(expected, rel=1e-6)
    assert len({*losses}) > 1


def test_the_reference_is_computed_in_the_precision_of_the_training(orm_rows, tiny_policy, tmp_path):
    more = (
        "--bf16_autocast",
        "true",
        "--beta",
        "20",
        "--n_steps_between_logs",
        "1",
        "--n_epochs",
        "0.3",
        "--learning_rate",
        "1e-9",
    )
    report = train(orm_rows, tiny_policy, tmp_path / "prm", *more)
    # Every log-ratio is 0
    assert [entry["loss"] for entry in report["loss_curve"]] == pytest.approx([math.log(2)] * 4, abs=1e-3)


@in_event_loop
async def test_training_on_outcomes_finds_the_wrong_step(orm_rows, tiny_policy, tmp_path):
    report = train(orm_rows, tiny_policy, tmp_path / "prm", "--n_epochs", "6")
    assert report["validation"][-1]["within_problem_auroc"] == 1.0
    assert report["parity"]["max_abs_difference"] < 1e-6
    scorer = load_scorer(str(tmp_path / "prm"))
    assert isinstance(scorer, ImplicitPrmScorer)
    assert (scorer.scores_steps, scorer.aggregation) == (True, "last")
    async with scorer.session("Start with 3") as tree:
        right, wrong = tree.extend(tree.root, "1 plus 1 = 8"), tree.extend(tree.root, "1 plus 1 = 9")
        assert tree.reward(right) > 0 > tree.reward(wrong)
        loss = report["validation"][-1]["loss"]
        assert -math.log(await tree.score(tree.extend(right, "Answer: 2"))) == pytest.approx(loss, abs=0.2)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "prm" / "reference").state_dict()
    for name, weight in AutoModelForCausalLM.from_pretrained(tiny_policy).state_dict().items():
        assert torch.equal(weight, reference[name])


def test_lora_updates_are_merged_and_a_calibration_is_applied(orm_rows, tiny_policy, tmp_path):
    report = train(orm_rows, tiny_policy, tmp_path / "prm", "--n_epochs", "1", "--lora.rank", "4")
    assert report["parity"]["max_abs_difference"] < 1e-6
    scorer = IMPLICIT_PRM.load_scorer(str(tmp_path / "prm"))
    assert scorer.score(0.5) == pytest.approx(0.6224593)  # sigmoid(0.5)
    store_calibration(tmp_path / "prm", Calibration("platt", scale=2.0, bias=-1.0), ())
    calibrated = IMPLICIT_PRM.load_scorer(str(tmp_path / "prm"))
    assert calibrated.score(0.5) == 0.5
    assert calibrated.scorer_id != scorer.scorer_id
    assert calibrated.beta == 0.05


def test_what_loads_a_single_network_says_that_this_is_another_kind(orm_rows, tiny_policy, tmp_path):
    train(orm_rows, tiny_policy, tmp_path / "prm", "--n_epochs", "1")
    with pytest.raises(
        InputError, match="got a checkpoint of kind implicit_prm, expected one of a single network"
    ):
        load_classifier(str(tmp_path / "prm"))
    assert read_facts(AutoModelForCausalLM.from_pretrained(tmp_path / "prm").config).kind == "implicit_prm"


@pytest.mark.parametrize(
    "more", [("--head_dropout", "0.1"), ("--packing", "true"), ("--lora.rank", "4", "--quantization", "nf4")]
)
def test_settings_that_would_do_nothing_or_harm_are_unknown(more, orm_rows, tiny_policy, tmp_path):
    with pytest.raises(ConfigError, match=f"unknown key {more[-2].removeprefix('--')} "):
        train(orm_rows, tiny_policy, tmp_path / "prm", *more)
