"""Qwen2.5-Math-PRM (Zhang et al. 2025): a chat whose answer is the steps, each ended by `<extra_0>`, where
its score is read.

The system prompt is the one of the model card; the authors rank solutions by the product of their step
scores.
"""

from dataclasses import dataclass
from typing import Any

from data_gen.models.prompt_ids import encode_messages, encode_text
from data_gen.models.tokenizer import load_tokenizer
from data_gen.records.chats import Message
from prm_train.checkpoints.qwen_layout import load_qwen_network
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.foreign.paths import ForeignPrm, token_id

MARKER = "<extra_0>"
QWEN_AGGREGATION: Aggregation = "prod"
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


@dataclass(frozen=True)
class QwenEncoding:
    tokenizer: Any
    marker_id: int

    def encode_head(self, question: str) -> tuple[int, ...]:
        return encode_messages(self.tokenizer, (Message("system", SYSTEM), Message("user", question)))

    def encode_step(self, step: str) -> tuple[int, ...]:
        return (*encode_text(self.tokenizer, step), self.marker_id)


def load_qwen(path: str, dtype: str, separator: str) -> ForeignPrm:
    """`separator` is not used: the marker alone stands between steps."""
    tokenizer = load_tokenizer(path)
    return ForeignPrm(
        load_qwen_network(path, dtype), tokenizer, qwen_encoding(tokenizer, path), QWEN_AGGREGATION
    )


def qwen_encoding(tokenizer: Any, path: str) -> QwenEncoding:
    """Raises InputError where the tokenizer lacks the marker."""
    return QwenEncoding(tokenizer, token_id(tokenizer, MARKER, path))
