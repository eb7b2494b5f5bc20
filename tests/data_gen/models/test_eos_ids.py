"""Tests of the ids that end a text."""

from types import SimpleNamespace

import pytest
from transformers import GenerationConfig, LlamaConfig

from data_gen.models.eos_ids import eos_ids, need_eos_ids
from data_gen.settings.errors import InputError


def test_every_source_adds_the_ids_that_it_names():
    tokenizer = SimpleNamespace(eos_token_id=7)
    assert eos_ids(tokenizer, LlamaConfig(eos_token_id=2), GenerationConfig(eos_token_id=[2, 9])) == {2, 7, 9}
    assert eos_ids(SimpleNamespace(eos_token_id=None), LlamaConfig(eos_token_id=None), None) == frozenset()


def test_of_a_model_with_several_parts_the_text_ends_by_its_text_part():
    parts = SimpleNamespace(eos_token_id=1, get_text_config=lambda: LlamaConfig(eos_token_id=5))
    assert eos_ids(parts) == {5}


def test_a_model_that_writes_needs_one():
    assert need_eos_ids("m", SimpleNamespace(eos_token_id=0)) == {0}
    with pytest.raises(InputError, match="m: neither tokenizer nor model names an EOS token"):
        need_eos_ids("m", SimpleNamespace(eos_token_id=None))
