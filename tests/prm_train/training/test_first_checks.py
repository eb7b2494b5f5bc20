"""Made up rows on tiny models of several architectures, as `tests.tiny_models` makes them."""

from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from data_gen.settings.errors import InputError
from prm_train.examples.examples import Example
from prm_train.training.config import TrainPrmConfig
from prm_train.training.first_checks import check_rows_apart, max_length
from tests.tiny_models import tiny_config, tiny_model

ROWS = [
    Example(f"q{n}", tuple(i * step % 97 + 1 for i in range(n)), (n - 1,), (1.0,), (1.0,))
    for n, step in ((30, 11), (20, 7), (50, 5))
]


def config(**settings) -> TrainPrmConfig:
    return TrainPrmConfig(rows=Path("unused"), output=Path("unused"), model="tiny", **settings)


def prm(name: str, **changes):
    return tiny_model(
        AutoModelForTokenClassification, tiny_config(name, 100, pad_token_id=0, num_labels=2, **changes)
    )


# seed_oss drops out of its attention in training; gemma2 and the window are masked row by row
@pytest.mark.parametrize("name", ["qwen2", "gpt2", "gemma2", "mistral|window", "phi3|longrope", "seed_oss"])
def test_rows_of_a_transformer_may_be_packed(name):
    model = prm(name).train()
    check_rows_apart(model, ROWS, config(packing=True, batch_tokens=2000))
    assert model.training


@pytest.mark.parametrize("name", ["qwen3_next", "minimax", "gpt_oss"])
def test_packing_is_refused_where_a_row_depends_on_the_one_before(name):
    model = prm(name)
    check_rows_apart(model, ROWS, config())
    with pytest.raises(
        InputError,
        match="packing: got true with model tiny, in which a packed row depends on the row before it",
    ):
        check_rows_apart(model, ROWS, config(packing=True, batch_tokens=2000))


def test_packed_passes_longer_than_the_mask_of_an_attention_are_refused():
    check_rows_apart(prm("gpt_neo"), ROWS, config(packing=True, max_length=200, batch_tokens=256))
    with pytest.raises(
        InputError, match="whose attention takes passes of 256 tokens at most, and up to 257 in a pass"
    ):
        check_rows_apart(prm("gpt_neo"), ROWS, config(packing=True, max_length=200, batch_tokens=257))


def test_a_model_that_reads_in_both_directions_is_refused():
    settings = tiny_config("gemma3_text", 100, pad_token_id=0, num_labels=1, use_bidirectional_attention=True)
    with pytest.raises(
        InputError, match="depends on tokens behind it, so on padding, too; expected a causal language model"
    ):
        check_rows_apart(tiny_model(AutoModelForSequenceClassification, settings), ROWS, config())


def test_rows_end_where_longrope_begins_to_rotate_the_whole_batch_otherwise():
    assert max_length(config(), prm("phi3|longrope")) == 64  # of a context of 256
    assert max_length(config(max_length=50), prm("phi3|longrope")) == 50
    assert max_length(config(), prm("phi3")) == 256
