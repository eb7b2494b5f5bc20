import asyncio
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from data_gen.models.tokenizer import load_tokenizer
from data_gen.rows.layouts import EVIDENCE, PrmRow
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.generative_verifier import GENERATIVE_VERIFIER, VerdictEncoding, verdict_encoding
from prm_train.kinds.load import load_classifier, load_scorer
from prm_train.networks.word_classifier import as_classifier
from prm_train.strategies.best_of_n import score_path
from prm_train.train_verifier import main
from prm_train.training.verifier import sft_row
from tests.tiny_models import tiny_config, tiny_model, write_tiny_model

QUESTION, STEPS = "Start with 3", ("3 plus 4 = 7", "7 times 2 = 15", "Answer: 7 5")


@pytest.fixture
def encoding(tiny_policy: Path) -> VerdictEncoding:
    return verdict_encoding(
        load_tokenizer(str(tiny_policy)), EncodingFacts("chat", "\n", ""), "Right so far?"
    )


def row(*labels: bool | None) -> PrmRow:
    evidence = {name: (nothing,) * 3 for name, nothing in EVIDENCE.items()}
    return PrmRow("p", QUESTION, STEPS, labels, **evidence)  # type: ignore[arg-type]


def supervised(encoding: VerdictEncoding, labels: tuple[bool | None, ...]) -> tuple[str, str]:
    """The text of the row, and what of it is supervised."""
    found = sft_row(GENERATIVE_VERIFIER.examples([row(*labels)], encoding, 200).examples[0], encoding)
    learnt = [label for label in found["labels"] if label != -100]
    return encoding.tokenizer.decode(found["input_ids"]), encoding.tokenizer.decode(learnt)


def test_a_row_is_a_text_with_verdicts_up_to_the_first_no(encoding):
    # A space is a token of its own here, so " Yes" and " No" begin alike
    assert (encoding.yes, encoding.no) == ("Yes", "No")
    head = "<|user|>Start with 3<|end|><|assistant|>Right so far?Yes\n"
    first, second, third = (f"{step}\nRight so far?" for step in STEPS)
    assert supervised(encoding, (True, False, None)) == (f"{head}{first}Yes\n{second}No", "YesNo")
    # Nothing is learnt behind an error
    assert supervised(encoding, (True, False, True)) == (f"{head}{first}Yes\n{second}No", "YesNo")
    assert supervised(encoding, (True, None, True)) == (
        f"{head}{first}Yes\n{second}Yes\n{third}Yes",
        "YesYes",
    )
    assert supervised(encoding, (False, None, None)) == (f"{head}{first}No", "No")


def test_words_of_one_token_keep_their_space(encoding):
    tokenizer = load_tokenizer(encoding.tokenizer.name_or_path)
    tokenizer.add_tokens([" Yes", " No"])
    found = verdict_encoding(tokenizer, encoding.facts, "Right so far?")
    assert (found.yes, found.no) == (" Yes", " No")
    assert [tokenizer.decode([word]) for word in found.word_ids] == [" No", " Yes"]


def test_words_that_begin_with_one_token_are_refused(encoding):
    letters = Tokenizer(models.BPE())
    letters.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    letters.train_from_iterator(["Yes No"], trainers.BpeTrainer(vocab_size=6, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters)
    with pytest.raises(
        InputError,
        match=r"its tokenizer begins ' Yes' and ' No' with the same token, and so \('Yes', 'No'\); exp",
    ):
        verdict_encoding(tokenizer, encoding.facts, "Right so far?")


def test_a_step_that_holds_the_separator_is_asked_about_twice(encoding):
    ids, ends = encoding.encode(QUESTION, ["3 plus 4\nis 7\n", "Answer: 7"])
    searched, searched_ends = encoding.encode(QUESTION, ["3 plus 4", "is 7", "Answer: 7"])
    assert (ids, ends) == (searched, searched_ends[1:])


def test_ids_of_a_prefix_are_a_prefix_of_the_ids(encoding):
    ids, ends = encoding.encode(QUESTION, STEPS)
    for k in range(len(STEPS)):
        assert encoding.encode(QUESTION, STEPS[:k])[0] == ids[: len(encoding.encode(QUESTION, STEPS[:k])[0])]
    assert [encoding.tokenizer.decode(ids[: end + 1])[-7:] for end in ends] == ["so far?"] * 3


def test_the_last_verdict_of_a_row_fits_into_its_length(encoding):
    n_tokens = len(
        sft_row(GENERATIVE_VERIFIER.examples([row(True, True, True)], encoding, 200).examples[0], encoding)[
            "input_ids"
        ]
    )
    found = GENERATIVE_VERIFIER.examples([row(True, True, True)], encoding, n_tokens - 1)
    assert found.left_out["labeled steps beyond max_length"] == 1
    assert len(sft_row(found.examples[0], encoding)["input_ids"]) < n_tokens


def test_the_classifier_scores_as_the_language_model_would_say_yes(tiny_policy, encoding):
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float64)
    ids, ends = encoding.encode(QUESTION, STEPS)
    with torch.no_grad():
        p = model(input_ids=torch.tensor([ids])).logits[0, list(ends)].softmax(1)
        z = as_classifier(model, *encoding.word_ids)(input_ids=torch.tensor([ids])).logits[0, list(ends)]
    no, yes = encoding.word_ids
    expected = p[:, yes] / (p[:, yes] + p[:, no])
    assert torch.allclose((z[:, 1] - z[:, 0]).sigmoid(), expected, atol=1e-12)
    assert expected.std() > 0.001


# What these do behind the head: nothing, soft caps, a divisor, a factor; the last two have other names for
# the head, or no attention.
@pytest.mark.parametrize("name", ["qwen2", "gemma2", "granite", "cohere", "gpt_neox", "mamba"])
def test_the_classifier_has_the_logits_that_the_language_model_has_for_its_words(name):
    settings, ids = tiny_config(name, 100), torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    with torch.no_grad():
        whole = tiny_model(AutoModelForCausalLM, settings)(input_ids=ids).logits[..., [7, 11]]
        words = as_classifier(tiny_model(AutoModelForCausalLM, settings), no=7, yes=11)(input_ids=ids).logits
    assert torch.allclose(words, whole, atol=1e-6)
    assert whole.std() > 0.01


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """60 solutions of 20 questions; a step is wrong where it says 9."""
    made = []
    for i in range(60):
        digits = ("8", "7") if i % 3 == 0 else ("8", "9") if i % 3 == 1 else ("9", "7")
        labels = [True, True] if i % 3 == 0 else [True, False] if i % 3 == 1 else [False, None]
        made.append(
            {
                "prompt": f"Start with {i // 3}",
                "completions": [f"{i % 10} plus 1 = {digits[0]}", f"Answer: {digits[1]}"],
                "labels": labels,
            }
        )
    (tmp_path / "prm.jsonl").write_text("".join(json.dumps(fields) + "\n" for fields in made))
    return tmp_path / "prm.jsonl"


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


def test_it_learns_a_rule_and_says_so_in_its_own_words(rows, tiny_policy, tmp_path):
    report = train(rows, tiny_policy, tmp_path / "verifier", "--n_epochs", "6")
    last = report["validation"][-1]
    assert (last["step_auroc"], last["first_error_f1"]) == (1.0, 1.0)
    assert report["parity"]["max_abs_difference"] < 1e-6
    scorer = load_scorer(str(tmp_path / "verifier"))
    assert (scorer.scores_steps, scorer.aggregation) == (True, "prod")

    async def scores() -> list[tuple[float, ...]]:
        async with scorer.session("Start with 3") as tree:
            return [
                await score_path(tree, steps, True)
                for steps in (("1 plus 1 = 8", "Answer: 7"), ("1 plus 1 = 8", "Answer: 9"), ("1 plus 1 = 9",))
            ]

    right, late, early = asyncio.run(scores())
    assert min(right) > 0.9
    assert late[0] == right[0]
    assert max(late[1], early[0]) < 0.1
    model, (_, encoding, _) = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "verifier"),
        load_classifier(str(tmp_path / "verifier")),
    )
    ids, _ = encoding.encode("Start with 3", ("1 plus 1 = 9",))
    written = model.generate(
        input_ids=torch.tensor([ids]), max_new_tokens=len(encoding.encode_text("No")), do_sample=False
    )
    assert encoding.tokenizer.decode(written[0, len(ids) :]) == "No"


def test_it_needs_no_class_for_token_classification(rows, tmp_path):
    report = train(
        rows, write_tiny_model("olmo2", tmp_path / "base"), tmp_path / "verifier", "--n_epochs", "1"
    )
    assert report["parity"]["max_abs_difference"] < 1e-6
    scorer = load_scorer(str(tmp_path / "verifier"))
    model, encoding, _ = load_classifier(str(tmp_path / "verifier"))
    ids, ends = encoding.encode("Start with 3", ("1 plus 1 = 8", "Answer: 7"))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, list(ends)]

    async def scores() -> tuple[float, ...]:
        async with scorer.session("Start with 3") as tree:
            return await score_path(tree, ("1 plus 1 = 8", "Answer: 7"), True)

    assert asyncio.run(scores()) == pytest.approx((logits[:, 1] - logits[:, 0]).sigmoid().tolist(), abs=1e-5)


def test_the_loss_does_not_depend_on_how_a_step_is_cut(rows, tiny_policy, tmp_path):
    cuts = {"whole": ("8", "1"), "cut": ("2", "4")}
    losses = []
    for name, (batch_size, n_accumulated) in cuts.items():
        more = (
            "--batch_size",
            batch_size,
            "--n_accumulated",
            n_accumulated,
            "--n_steps_between_logs",
            "1",
            "--n_epochs",
            "0.3",
        )
        report = train(rows, tiny_policy, tmp_path / name, "--dtype", "float64", *more)
        losses.append(report["loss_curve"][0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.usefixtures("unpacked_4bit")
def test_lora_updates_are_merged_into_the_unquantized_base(rows, tiny_policy, tmp_path):
    quantized = ("--quantization", "nf4") if find_spec("bitsandbytes") else ()
    parity = train(
        rows,
        tiny_policy,
        tmp_path / "verifier",
        "--n_epochs",
        "1",
        "--lora.rank",
        "4",
        "--use_cpu",
        "true",
        *quantized,
    )["parity"]
    assert parity["max_abs_difference"] < 1e-5
    assert not quantized or 1e-5 < parity["quantization_difference"] < 0.5
