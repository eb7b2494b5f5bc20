"""Which trainings `benchmarks.gpu.training_speed` makes, on which rows and from which weights.

*real* is the language model of the setting with its weights (SmolLM2-135M), *random* the shape of
Qwen2.5-1.5B with random ones. Rows are random ids: *short* ones as long as Math-Shepherd's (log-normal,
median 190 tokens, about 6 steps), *long* ones with a median of 600; none beyond 1,024, where TRL would cut.
A step of the optimizer sees `n_rows` of them on both sides.

Ours packs them into passes of `pass_size` tokens, which is `batch_tokens`; TRL takes random batches of
`pass_size` rows, padded to the longest of each, and accumulates them. Weights are float32 on both sides,
under bfloat16 autocast (TRL's ModelConfig says float32 and PRMConfig bf16; its script
examples/scripts/prm.py leaves the dtype to transformers, which since 5.0 loads what the checkpoint holds:
for such bfloat16 weights there is a run of each side, too). Rows of like length in a batch, an option of
Trainer's, would save TRL padding and make its steps all short or all long; a run says how much.
"""

import random
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForTokenClassification, Qwen2Config, set_seed

from benchmarks.gpu.setting import Setting
from prm_train.examples.examples import Example
from prm_train.kinds.prm import PRM

MAX_LENGTH = 1024
LENGTHS = {"short": (5.25, 0.5), "long": (6.4, 0.4)}  # of the logarithms: mean and standard deviation
QWEN_1_5B = {
    **{"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2},
    **{"intermediate_size": 8960, "vocab_size": 151_936, "tie_word_embeddings": True},
}
TOY = {
    **{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"intermediate_size": 96, "vocab_size": 300, "tie_word_embeddings": True},
}


@dataclass(frozen=True)
class Run:
    """One training. `n_warmup` optimizer steps come before the `n_steps` that are measured."""

    side: Literal["ours", "trl"]
    model: Literal["real", "random"]
    lengths: Literal["short", "long"]
    checkpointing: bool
    pass_size: int  # ours: tokens; trl: rows
    n_rows: int = 64
    n_warmup: int = 2
    n_steps: int = 5
    is_packed: bool = True  # ours
    dtype: Literal["float32", "bfloat16"] = "float32"
    sampling: Literal["random", "group_by_length"] = "random"  # trl

    @property
    def is_compared(self) -> bool:
        """Whether the ratios are between runs of this kind: alike in weights and in the rows of a step."""
        return self.dtype == "float32" and self.sampling == "random"

    @property
    def case(self) -> str:
        """What must be the same of two runs that are compared."""
        return f"{self.model}, {self.lengths} rows, checkpointing {'on' if self.checkpointing else 'off'}"

    @property
    def title(self) -> str:
        """The case, and what the sides may choose."""
        unit = "tokens" if self.side == "ours" else "rows"
        more = "" if self.is_packed else ", padded"
        more += "" if self.dtype == "float32" else ", bfloat16 weights"
        more += "" if self.sampling == "random" else ", rows of like length"
        return f"{self.case}, {self.pass_size} {unit} a pass{more}"


def plan(side: Literal["ours", "trl"], is_small: bool) -> list[Run]:
    """The runs of a side, the most telling first: time may end them."""
    if is_small:
        toy: dict[str, Any] = {"n_rows": 8, "n_warmup": 1, "n_steps": 2}
        size = 400 if side == "ours" else 4
        return [
            Run(side, "real", "short", False, size, **toy),
            Run(side, "random", "short", True, size, **toy),
        ]
    few: dict[str, Any] = {"n_steps": 3}
    if side == "ours":
        return [
            Run(side, "real", "short", False, 16_384),
            Run(side, "real", "short", True, 16_384),
            Run(side, "random", "short", False, 8_192, **few),  # more would not fit into 80 GB
            Run(side, "random", "short", True, 16_384, **few),
            Run(side, "random", "long", True, 16_384, **few),
            Run(side, "real", "long", True, 16_384),
            Run(side, "real", "short", False, 16_384, is_packed=False),
            Run(side, "real", "short", False, 16_384, dtype="bfloat16"),
            Run(side, "real", "long", False, 16_384),
        ]
    return [
        Run(side, "real", "short", True, 64),
        Run(side, "real", "short", False, 64),
        Run(side, "random", "short", False, 8, **few),
        Run(side, "random", "short", True, 16, **few),
        Run(side, "random", "long", True, 16, **few),
        Run(side, "real", "long", True, 16),
        Run(side, "real", "short", False, 64, dtype="bfloat16"),
        Run(side, "real", "short", True, 64, sampling="group_by_length"),
        Run(side, "real", "short", False, 16),
        Run(side, "real", "long", False, 16),
    ]


def rows(run: Run, vocabulary: int, is_small: bool, seed: int = 0) -> list[Example]:
    """Random ids, and a random label at the end of each step; the last token ends a step."""
    rng, made = random.Random(seed), []
    for _ in range((run.n_warmup + run.n_steps) * run.n_rows):
        n_tokens = min(max(int(rng.lognormvariate(*LENGTHS[run.lengths])), 40), MAX_LENGTH)
        n_tokens = n_tokens // 8 if is_small and n_tokens > 80 else n_tokens
        n_steps = min(max(round(rng.gauss(6.2, 2)), 2), 12, n_tokens // 2)
        positions = tuple(sorted({*rng.sample(range(2, n_tokens - 1), n_steps - 1), n_tokens - 1}))
        ids = tuple(rng.randrange(5, vocabulary) for _ in range(n_tokens))
        targets = tuple(float(rng.random() < 0.6) for _ in positions)
        made.append(Example("q", ids, positions, targets, (1.0,) * len(positions)))
    return made


def shape(model: str, setting: Setting) -> Any:
    """The config of a PRM's network, which is the same for both sides."""
    if model == "real":
        config = AutoConfig.from_pretrained(setting.model)
    else:
        config = Qwen2Config(**(TOY if setting.is_small else QWEN_1_5B), bos_token_id=None, eos_token_id=1)
    config.update({**PRM.head, "pad_token_id": 0, "use_cache": False})
    return config


def network(run: Run, setting: Setting) -> Any:
    """The network on its device; both sides get the same weights."""
    config, dtype = shape(run.model, setting), getattr(torch, run.dtype)
    set_seed(0)
    if run.model == "real":
        return AutoModelForTokenClassification.from_pretrained(setting.model, config=config, dtype=dtype).to(
            setting.device
        )
    with torch.device(setting.device):
        return AutoModelForTokenClassification.from_config(config, dtype=dtype)
