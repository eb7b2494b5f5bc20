"""The scorer section of a search's config: where PRM and ORM run, which need not be where the policy does.
Loads without torch.
"""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from data_gen.policies.config import PolicyConfig
from data_gen.policies.servers.addresses import server_url
from data_gen.settings.api_keys import check_api_key_env
from prm_train.scoring.foreign.settings import PrmFormat

if TYPE_CHECKING:
    from prm_train.scoring.protocol import Scorer


IN_PROCESS_ONLY = ("device", "dtype", "cache_bytes", "max_batch_tokens")
SERVERS_ONLY = ("server_model", "api_key_env", "max_concurrency", "timeout_seconds", "n_attempts")


@dataclass(frozen=True)
class ScorerConfig:
    """Where the PRM and the ORM run: in this process, or one of them behind `servers`."""

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

    servers: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "URLs of servers that hold the scorer's weights (vllm serve --runner pooling), or @file "
            "with one URL on each line; of its folder or Hub name config and tokenizer are read",
            "is_execution": True,
        },
    )
    server_model: str | None = field(
        default=None, metadata={"help": "what the servers call it; null: the only model that they serve"}
    )
    api_key_env: str | None = field(
        default=None,
        metadata={
            "help": "NAME of the environment variable that holds the API key of the servers",
            "is_execution": True,
        },
    )
    max_concurrency: int = field(
        default=128, metadata={"help": "how many paths are under way at each server", "is_execution": True}
    )
    timeout_seconds: float = field(
        default=600.0, metadata={"help": "longest time to wait for a server's reply", "is_execution": True}
    )
    n_attempts: int = field(
        default=10,
        metadata={"help": "how often a score is requested before the run gives up", "is_execution": True},
    )

    def __post_init__(self) -> None:
        unused = IN_PROCESS_ONLY if self.servers else SERVERS_ONLY
        for each in fields(self):
            if each.name in unused and getattr(self, each.name) != each.default:
                where = "with servers" if self.servers else "without servers"
                raise ValueError(f"{each.name}: has no effect {where}; expected it to be left out")
        check_api_key_env(self.api_key_env)
        for number in ("max_concurrency", "timeout_seconds", "n_attempts"):
            if getattr(self, number) <= 0:
                raise ValueError(f"{number}: got {getattr(self, number)}, expected more than 0")
        for url in self.servers:
            if not url.startswith("@"):
                server_url(url)
        if self.cache_bytes < 0:
            raise ValueError(f"cache_bytes: got {self.cache_bytes}, expected 0 or more")
        if self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens: got {self.max_batch_tokens}, expected at least 1")

    def check_one(self, prm: str | None, orm: str | None) -> None:
        """Raises ValueError for servers that would have to be of two scorers, or of none."""
        if self.servers and (prm is None) == (orm is None):
            got = "no scorer" if prm is None else "prm and orm"
            raise ValueError(f"scorer.servers: serve one model, got {got}; expected prm or orm")

    def load(self, path: str, policy: PolicyConfig, prm_format: PrmFormat) -> "Scorer":
        """Raises InputError where there is no scorer, or a server that cannot score for it."""
        if self.servers:
            return self._connect(path, policy.trust_remote_code, prm_format)
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

    def _connect(self, path: str, trust_remote_code: bool, prm_format: PrmFormat) -> "Scorer":
        from data_gen.policies.servers.requests import RequestSettings
        from prm_train.kinds.served import connect_scorer

        return connect_scorer(
            path,
            self.servers,
            model=self.server_model,
            settings=RequestSettings(
                self.api_key_env, self.max_concurrency, self.timeout_seconds, self.n_attempts
            ),
            trust_remote_code=trust_remote_code,
            prm_format=prm_format,
        )
