"""The scorer section of a search's config: where PRM and ORM run, which need not be where the policy does.
Loads without torch.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from data_gen.policies.config import PolicyConfig
from prm_train.scoring.foreign.settings import PrmFormat

if TYPE_CHECKING:
    from prm_train.scoring.protocol import Scorer


@dataclass(frozen=True)
class ScorerConfig:
    """Where the PRM and the ORM run."""

    device: str | None = field(
        default=None,
        metadata={
            "help": "device of the scorers, as cuda:0; null: that of the policy (cpu with the engine vllm or "
            "servers)",
            "is_execution": True,
        },
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = field(
        default=None, metadata={"help": "number format of the scorers' weights; null: that of the policy"}
    )
    cache_bytes: int = field(
        default=2**30,
        metadata={
            "help": "maximum number of bytes of keys and values of steps that are kept to score the next "
            "ones; 0: none",
            "is_execution": True,
        },
    )
    max_batch_tokens: int = field(
        default=4096,
        metadata={
            "help": "maximum number of tokens of one forward pass; more are faster as long as memory suffices",  # noqa: E501
            "is_execution": True,
        },
    )

    def __post_init__(self) -> None:
        if self.cache_bytes < 0:
            raise ValueError(f"cache_bytes: got {self.cache_bytes}, expected 0 or more")
        if self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens: got {self.max_batch_tokens}, expected at least 1")

    def load(self, path: str, policy: PolicyConfig, prm_format: PrmFormat) -> "Scorer":
        """Raises InputError where there is no scorer."""
        from prm_train.kinds.load import load_scorer

        return load_scorer(
            path,
            dtype=self.dtype or policy.dtype,
            device=self.device or policy.device,
            trust_remote_code=policy.trust_remote_code,
            cache_bytes=self.cache_bytes,
            max_batch_tokens=self.max_batch_tokens,
            prm_format=prm_format,
        )
