"""Tiny models in the formats of published PRMs: scored through `load_scorer`, and by what their authors do
with transformers alone.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
    set_seed,
)

from data_gen.models.tokenizer import load_tokenizer, train_tokenizer
from data_gen.records.chats import Message
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.kinds.load import load_checkpoint, load_classifier, load_scorer
from prm_train.kinds.paths import ScoredPath
from prm_train.publishing.export import export_checkpoint
from prm_train.scoring.foreign.math_shepherd import load_math_shepherd
from prm_train.scoring.foreign.settings import PrmFormat
from prm_train.search.settings import SearchConfig
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.settings import ScorerConfig
from tests.tiny_models import SMALLEST

QUESTION = "Start with 3: plus 4, times 2."
# A tree: the second path shares a step with the first, the third shares none.
PATHS = (
    ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4"),
    ("3 plus 4 = 7", "7 times 2 = 15"),
    ("Step 1: 3 plus 4 = 8", "Answer: 8 6"),
)
TEXT = (
    f"{QUESTION}\n"
    + "\n".join(f"{step} ки + -" for path in PATHS for step in path)
    + "\nStep 1: Step 2: Step 3:"
)
CHAT_ML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor "
    "%}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SHAPE = SMALLEST | {"initializer_range": 0.3, "tie_word_embeddings": False}


@dataclass(frozen=True)
class Published:
    """A folder in some format; `reference` computes a path's scores as its authors do."""

    folder: Path
    prm_format: PrmFormat
    reference: Callable[[Path, Sequence[str]], list[float]]


def byte_tokenizer(**special: str) -> Any:
    tokenizer = train_tokenizer([TEXT], 320, 256)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<extra_0>", "<|im_start|>", "<|im_end|>", "<|bos|>"]}
    )
    for name, value in special.items():
        setattr(tokenizer, name, value)
    return tokenizer


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def build_trl(folder: Path) -> Published:
    tokenizer = byte_tokenizer(bos_token="<|bos|>")
    Qwen2ForTokenClassification(
        Qwen2Config(vocab_size=len(tokenizer), num_labels=2, **SHAPE)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Published(folder, PrmFormat(separator="\n\n"), trl_scores)


@torch.no_grad()
def trl_scores(folder: Path, steps: Sequence[str]) -> list[float]:
    tokenizer, model = load_tokenizer(str(folder)), Qwen2ForTokenClassification.from_pretrained(folder).eval()
    encode = partial(tokenizer.encode, add_special_tokens=False)
    ids, ends = [tokenizer.bos_token_id, *encode(QUESTION)], []
    for step in steps:
        ids += [*encode(step), *encode("\n\n")]
        ends.append(len(ids) - 1)
    return model(input_ids=torch.tensor([ids])).logits[0, ends].softmax(-1)[:, 1].tolist()


def build_qwen(folder: Path) -> Published:
    tokenizer = byte_tokenizer(chat_template=CHAT_ML)
    config = Qwen2Config(vocab_size=len(tokenizer), **SHAPE)
    backbone, head = Qwen2Model(config), nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    weights = {f"model.{name}": weight for name, weight in backbone.state_dict().items()}
    config.save_pretrained(folder)
    save_file(
        weights | {f"score.{name}": weight for name, weight in head.state_dict().items()},
        folder / "model.safetensors",
    )
    # the published folders name code of their own, which nobody is to run
    (folder / "modeling_qwen2_rm.py").write_text("raise SystemExit('code of the checkpoint was run')\n")
    remote = {
        "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        "AutoConfig": "modeling_qwen2_rm.Qwen2RMConfig",
    }
    change_config(folder, architectures=["Qwen2ForProcessRewardModel"], auto_map=remote)
    tokenizer.save_pretrained(folder)
    return Published(folder, PrmFormat(), partial(qwen_scores, backbone, head))


@torch.no_grad()
def qwen_scores(backbone: Any, head: Any, folder: Path, steps: Sequence[str]) -> list[float]:
    tokenizer = load_tokenizer(str(folder))
    system = "Please reason step by step, and put your final answer within \\boxed{}."
    contents = {
        "system": system,
        "user": QUESTION,
        "assistant": "".join(step + "<extra_0>" for step in steps),
    }
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in contents.items()], tokenize=False
    )
    ids = torch.tensor([tokenizer.encode(text)])
    logits = head(backbone.eval()(input_ids=ids).last_hidden_state)
    return logits[ids == tokenizer.convert_tokens_to_ids("<extra_0>")].softmax(-1)[:, 1].tolist()


def build_skywork(folder: Path) -> Published:
    tokenizer = byte_tokenizer(bos_token="<|bos|>")
    model, summary = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SHAPE)), nn.Linear(16, 1)
    model.config.save_pretrained(folder)
    head = {f"v_head.summary.{name}": weight for name, weight in summary.state_dict().items()}
    save_file({**model.state_dict(), **head}, folder / "model.safetensors")
    change_config(folder, architectures=["Qwen2ForPrmModel"])
    tokenizer.save_pretrained(folder)
    return Published(folder, PrmFormat(), partial(skywork_scores, model, summary))


@torch.no_grad()
def skywork_scores(model: Any, summary: Any, folder: Path, steps: Sequence[str]) -> list[float]:
    tokenizer = load_tokenizer(str(folder))
    ids, ends = tokenizer.encode(f"<|bos|>{QUESTION}\n"), []
    for step in steps:
        ids += [*tokenizer.encode(step), *tokenizer.encode("\n")]
        ends.append(len(ids) - 1)
    hidden = model.eval()(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    return summary(hidden)[0, ends, 0].sigmoid().tolist()


def build_math_shepherd(folder: Path) -> Published:
    """With a tokenizer as Mistral's: the spaces are of the pieces behind them, and a text begins with one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    line, words = pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([line, words])
    tokenizer.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    MistralForCausalLM(MistralConfig(vocab_size=len(fast), **SHAPE)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return Published(folder, PrmFormat("math_shepherd"), shepherd_scores)


@torch.no_grad()
def shepherd_scores(folder: Path, steps: Sequence[str]) -> list[float]:
    tokenizer, model = load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder).eval()
    named = [
        step if step.startswith("Step ") else f"Step {number}: {step}" for number, step in enumerate(steps, 1)
    ]
    ids = torch.tensor([tokenizer.encode(f"{QUESTION} " + "\n".join(f"{step} ки" for step in named))])
    signs = tokenizer.encode("+ -")[1:]
    assert len(signs) == 2
    return model(ids).logits[:, :, signs].softmax(-1)[:, :, 0][ids == tokenizer.encode("ки")[-1]].tolist()


def build_rlhflow(folder: Path) -> Published:
    tokenizer = byte_tokenizer()
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Published(folder, PrmFormat("rlhflow"), rlhflow_scores)


@torch.no_grad()
def rlhflow_scores(folder: Path, steps: Sequence[str]) -> list[float]:
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder).eval(),
    )
    signs = [tokenizer.encode(sign)[-1] for sign in ("+", "-")]
    chat: list[dict[str, str]] = []
    scores = []
    for number, step in enumerate(steps):
        chat += [
            {"role": "user", "content": step if number else f"{QUESTION} {step}"},
            {"role": "assistant", "content": "+"},
        ]
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=False)
        # "+" and the end of the turn stand behind it
        scores.append(model(ids).logits[0, -3, signs].softmax(-1)[0].item())
    return scores


BUILDERS = {
    "trl": build_trl,
    "qwen": build_qwen,
    "math_shepherd": build_math_shepherd,
    "rlhflow": build_rlhflow,
    "skywork": build_skywork,
}


@pytest.fixture(scope="module", params=BUILDERS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    set_seed(1)
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param))


def scores_in_tree(scorer: Any, *, at_once: bool) -> list[list[float]]:
    """Of every step of every path: asked for step by step as a search grows a tree, or all at once, the
    deepest first.
    """

    async def run() -> list[list[float]]:
        async with scorer.session(QUESTION) as tree:
            nodes: list[list[Any]] = []
            for path in PATHS:
                node, nodes_of_path = tree.root, list[Any]()
                for step in path:
                    node = tree.extend(node, step)
                    nodes_of_path.append(node)
                    if not at_once:
                        await tree.score(node)
                nodes.append(nodes_of_path)
            asked = [node for path_nodes in nodes for node in reversed(path_nodes)]
            await asyncio.gather(*map(tree.score, asked))
            with pytest.raises(ValueError, match="blank step"):
                tree.extend(tree.root, " \n")
            return [[await tree.score(node) for node in path_nodes] for path_nodes in nodes]

    return asyncio.run(run())


@pytest.mark.parametrize("at_once", [False, True], ids=["step by step", "at once"])
@pytest.mark.parametrize("budget", [{}, {"cache_bytes": 0}, {"max_batch_tokens": 1}], ids=str)
def test_scores_are_those_of_the_authors_whatever_the_order_batch_and_cache(published, at_once, budget):
    scorer: Any = load_scorer(str(published.folder), prm_format=published.prm_format, **budget)
    found = scores_in_tree(scorer, at_once=at_once)
    expected = [published.reference(published.folder, path) for path in PATHS]
    assert [len(scores) for scores in found] == [3, 2, 2]
    for scores, wanted in zip(found, expected, strict=True):
        assert scores == pytest.approx(wanted, abs=2e-6)
    assert found[0][0] == found[1][0]  # one node
    assert max(map(max, found)) - min(map(min, found)) > 0.01


def test_the_score_of_a_step_does_not_depend_on_what_follows(published):
    whole = published.reference(published.folder, PATHS[0])
    assert published.reference(published.folder, PATHS[0][:1]) == pytest.approx(whole[:1], abs=2e-6)


def test_every_distinct_token_is_computed_once(published):
    scorer: Any = load_scorer(str(published.folder), prm_format=published.prm_format)

    async def run() -> tuple[int, int]:
        async with scorer.session(QUESTION) as tree:
            first = tree.extend(tree.root, PATHS[0][0])
            second = tree.extend(first, PATHS[0][1])
            for node in (first, second):
                await tree.score(node)
            assert tree.extend(tree.root, PATHS[0][0]) is first
            assert second.n_path_tokens == sum(len(node.token_ids) for node in (tree.root, first, second))
            return tree.usage.n_new, second.n_path_tokens

    n_new, n_tokens = asyncio.run(run())
    assert n_new == n_tokens


def test_a_language_model_says_nothing_so_its_format_must_be_named(tiny_policy):
    with pytest.raises(
        InputError, match=r"architecture Qwen2ForCausalLM .* its format to be named: trl, qwen, math_shepherd"
    ):
        load_scorer(str(tiny_policy))


def test_labels_that_are_not_trls_are_not_guessed(tmp_path):
    build_trl(tmp_path)
    change_config(tmp_path, id2label={"0": "right", "1": "wrong"})
    with pytest.raises(InputError, match="its format to be named"):
        load_scorer(str(tmp_path))


@pytest.mark.parametrize(
    ("build", "missing"), [(build_qwen, "score.2.weight"), (build_skywork, "v_head.summary.weight")]
)
def test_a_head_without_weights_is_refused_and_not_filled_with_chance(build, missing, tmp_path):
    from safetensors.torch import load_file

    build(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[missing]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=rf"its weights are not those of a \w+: 1 missing \({missing}\)"):
        load_scorer(str(tmp_path))


def test_an_adapter_of_trls_trainer_scores_as_it_did_in_training_and_brings_its_head(tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    build_trl(tmp_path / "base")
    base = Qwen2ForTokenClassification.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(base, LoraConfig(task_type="TOKEN_CLS", r=2, init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path / "prm")
    tokenizer = load_tokenizer(str(tmp_path / "base"))
    tokenizer.save_pretrained(tmp_path / "prm")
    base.config.save_pretrained(tmp_path / "prm")  # no model lies beside it
    trl = PrmFormat("trl", "\n\n")
    encode = partial(tokenizer.encode, add_special_tokens=False)
    ids = [tokenizer.bos_token_id, *encode(QUESTION), *encode(PATHS[0][0]), *encode("\n\n")]
    expected = adapted(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[1].item()
    assert scores_in_tree(load_scorer(str(tmp_path / "prm"), prm_format=trl), at_once=True)[0][
        0
    ] == pytest.approx(expected, abs=1e-5)
    file = tmp_path / "prm" / "adapter_model.safetensors"
    save_file(
        {name: weight for name, weight in load_file(file).items() if "score" not in name},
        file,
        metadata={"format": "pt"},
    )
    with pytest.raises(
        InputError, match=r"score.modules_to_save.default.bias, .*: not in the adapter, or not of it"
    ):
        load_scorer(str(tmp_path / "prm"), prm_format=trl)


def test_a_step_that_holds_the_tag_of_math_shepherd_is_refused(tmp_path):
    published = build_math_shepherd(tmp_path)
    scorer: Any = load_scorer(str(tmp_path), prm_format=published.prm_format)

    async def run() -> None:
        async with scorer.session(QUESTION) as tree:
            tree.extend(tree.root, "3 plus 4 = 7 ки and on")

    with pytest.raises(InputError, match="2 tags 'ки' in a path of 1 steps"):
        asyncio.run(run())


def test_a_tokenizer_that_joins_or_cuts_what_math_shepherd_reads_is_refused_at_loading(tmp_path):
    """Byte-level ones: the space before the tag, or before a sign, belongs to the token, or the tag is
    several bytes.
    """
    for name, texts, signs, said in (
        ("signs", ["2 ки\n"] * 9, [], r"no single tokens for '\+' and '-'"),
        ("tag", ["2 ки\n"] * 9, ["+", " -"], r"no single tokens for '\+' and '-'"),
        (
            "joined",
            ["2 ки\n"] * 9,
            ["+", "-"],
            r"no token for 'ки' alone, .* a step ends with \['2', 'ĠÐºÐ¸'\], expected \['¸'\] behind",
        ),
        (
            "bytes",
            [],
            ["+", "-"],
            r"no token for 'ки' alone, at which this format reads scores: a step ends with",
        ),
    ):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
        )
        # With the space before them, or without
        tokenizer.add_tokens([AddedToken(sign, lstrip=sign in "+-") for sign in signs])
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / name)
        with pytest.raises(InputError, match=said):
            load_math_shepherd(str(tmp_path / name), "float32", "\n")


def test_a_prm_of_this_project_in_qwens_layout_keeps_its_own_encoding(tiny_policy, tmp_path):
    model, encoding = build_scorer("prm", ScorerConfig(rows=Path(), output=Path(), model=str(tiny_policy)))
    save_scorer(model, encoding, CheckpointFacts("prm", encoding.facts, "none", "min"), tmp_path / "prm")
    (tmp_path / "qwen").mkdir()
    path = ScoredPath((Message("user", QUESTION),), PATHS[0])
    export_checkpoint(load_checkpoint(str(tmp_path / "prm")), tmp_path / "qwen", [path], layout="qwen_prm")
    assert load_classifier(str(tmp_path / "qwen"))[0].config.id2label == {0: "bad", 1: "good"}
    own, theirs = (
        scores_in_tree(load_scorer(str(tmp_path / name)), at_once=True) for name in ("prm", "qwen")
    )
    for scores, others in zip(own, theirs, strict=True):
        assert scores == pytest.approx(others, abs=1e-6)


def test_scorers_of_other_weights_or_another_separator_have_other_names(tmp_path):
    build_trl(tmp_path)
    ids = [
        load_scorer(str(tmp_path), prm_format=PrmFormat(separator=separator)).scorer_id
        for separator in ("\n", "\n\n", "\n")
    ]
    assert ids[0] == ids[2] != ids[1]


def test_a_search_can_name_the_format():
    config = parse_config(SearchConfig, ["--output", "run", "--prm", "a/prm", "--prm_format.name", "rlhflow"])
    assert config.prm_format == PrmFormat("rlhflow", "\n")
