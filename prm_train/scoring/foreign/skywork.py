"""Skywork-o1-Open-PRM: Qwen2 with a value head on every token; a step's score is the sigmoid of the value at
the newline behind it.

ids(bos question "\\n") ids(step 1) "\\n" ids(step 2) "\\n" …
                                   ^ score 1          ^ score 2
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForTokenClassification

from data_gen.models.prompt_ids import encode_around
from data_gen.models.tokenizer import load_tokenizer
from prm_train.networks.load_whole import load_whole
from prm_train.scoring.foreign.paths import ForeignPrm


class ValueHead(nn.Module):
    """Its value as the second of two logits, the first being 0: the sigmoid of their difference is that of
    the value.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.summary = nn.Linear(hidden_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        value = self.summary(hidden)
        return torch.cat([torch.zeros_like(value), value], dim=-1)


class SkyworkPrm(Qwen2ForTokenClassification):
    """The head has the name it has in the checkpoint."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        del self.score
        self.v_head = ValueHead(config.hidden_size)
        self.post_init()

    @property
    def classifier(self) -> ValueHead:
        return self.v_head


@dataclass(frozen=True)
class SkyworkEncoding:
    """`separator` as the checkpoint was trained with; its last token ends every step. Skywork's examples use
    a newline.
    """

    tokenizer: Any
    separator: str

    def encode_head(self, question: str) -> tuple[int, ...]:
        begin = self.tokenizer.bos_token or ""
        return encode_around(
            self.tokenizer, [question], lambda texts: f"{begin}{texts[0]}\n", add_special_tokens=True
        )

    def encode_step(self, step: str) -> tuple[int, ...]:
        ids = encode_around(self.tokenizer, [step], lambda texts: texts[0], add_special_tokens=True)
        return (*ids, self.tokenizer.encode(self.separator)[-1])


def load_skywork(path: str, dtype: str, separator: str) -> ForeignPrm:
    tokenizer = load_tokenizer(path)
    model = load_whole(SkyworkPrm, path, dtype, num_labels=2)
    return ForeignPrm(model, tokenizer, SkyworkEncoding(tokenizer, separator), "min")
