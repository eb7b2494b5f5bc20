"""Ids of paths without a chat template, by hand, beside what config.json tells readers of them."""

from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from data_gen.records.chats import Message
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.kinds.lookup import kind_named
from prm_train.kinds.paths import ScoredPath

VOCABULARY = {"<s>": 0, "</s>": 1, "<|step|>": 2, "a": 3, "b": 4, "\n": 5, "\n\n": 6}


def plain_encoding() -> ScorerEncoding:
    """Two newlines are one token, and every text begins with BOS."""
    backend = Tokenizer(models.BPE(VOCABULARY, [("\n", "\n")]))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<|step|>"],
        clean_up_tokenization_spaces=False,
    )
    return ScorerEncoding(tokenizer, EncodingFacts("plain", "\n", "<|step|>"))


def test_without_a_template_a_scorer_reads_turn_by_turn_and_a_revision_model_one_text():
    chat = (Message("user", "a"), Message("assistant", "\nb"))
    scored = kind_named("orm").encode(ScoredPath(chat, ("a", "b")), plain_encoding())
    # The newline of one turn and that of the next stay two tokens
    assert scored.ids == (0, 3, 5, 5, 4, 5, 3, 5, 2, 4, 5, 2)
    for name in ("prm", "orm", "generative_verifier", "implicit_prm"):
        assert "in layout plain BOS" in kind_named(name).reading
        assert "every turn too, is tokenized by itself" in kind_named(name).reading
    revised = kind_named("revision").encode(ScoredPath(chat, ("a",)), plain_encoding())
    assert revised.ids == (0, 3, 6, 4, 5, 3, 1)  # here they are one
    assert "each turn and a newline, all as one text, with BOS" in kind_named("revision").reading
