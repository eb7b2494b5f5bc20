"""Qwen2.5-Math-PRM (Zhang et al. 2025): a chat whose answer is the steps, each ended by `<extra_0>`, where its score is read.

The system prompt is the one of the model card; the authors rank solutions by the product of their step scores.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import Qwen2Config, Qwen2ForTokenClassification

from data_gen.chains import Message
from data_gen.prompt_ids import encode_messages, encode_text
from data_gen.tokenizer import load_tokenizer
from prm_train.foreign.paths import ForeignPrm, load_whole, token_id

MARKER = "<extra_0>"
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


class QwenPrm(Qwen2ForTokenClassification):
    """Qwen2ForProcessRewardModel from transformers' own parts: two linear maps with a ReLU between them on every token."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.score = nn.Sequential(nn.Linear(config.hidden_size, config.hidden_size), nn.ReLU(), nn.Linear(config.hidden_size, 2))
        self.post_init()


@dataclass(frozen=True)
class QwenEncoding:
    tokenizer: Any
    marker_id: int

    def encode_head(self, question: str) -> tuple[int, ...]:
        return encode_messages(self.tokenizer, (Message("system", SYSTEM), Message("user", question)))

    def encode_step(self, step: str) -> tuple[int, ...]:
        return (*encode_text(self.tokenizer, step), self.marker_id)


def load_qwen_network(path: str, dtype: str) -> QwenPrm:
    return load_whole(QwenPrm, path, dtype, num_labels=2)


def load_qwen(path: str, dtype: str, separator: str) -> ForeignPrm:
    """`separator` is not used: the marker alone stands between steps."""
    tokenizer = load_tokenizer(path)
    return ForeignPrm(load_qwen_network(path, dtype), tokenizer, QwenEncoding(tokenizer, token_id(tokenizer, MARKER, path)), "prod")
