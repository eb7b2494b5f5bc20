"""The scorer section of a search's config: where PRM and ORM run, which need not be where the policy does,
and how carefully their scores are taken. Loads without torch.
"""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from data_gen.policies.config import PolicyConfig
from data_gen.policies.servers.addresses import server_url
from data_gen.settings.api_keys import check_api_key_env
from data_gen.settings.errors import InputError
from prm_train.scoring.ensemble import Combination, EnsembleScorer
from prm_train.scoring.foreign.settings import PrmFormat

if TYPE_CHECKING:
    from prm_train.scoring.protocol import Scorer


IN_PROCESS_ONLY = ("device", "dtype", "cache_bytes", "max_batch_tokens", "ensemble", "combination")
SERVERS_ONLY = ("server_model", "api_key_env", "max_concurrency", "timeout_seconds", "n_attempts")


@dataclass(frozen=True)
class ScorerConfig:
    """Where the PRM and the ORM run: in this process, or one of them behind `servers`. `ensemble` and
    `pessimism` are remedies against searches that find a scorer's errors.
    """

    ensemble: tuple[str, ...] = field(
        default=(),
        metadata={
            "is_model": True,
            "help": "folders or Hub names of further scorers of its kind (trained with other seeds or rows), "
            "which are combined with the PRM or the ORM into one",
        },
    )
    combination: Combination = field(
        default="mean",
        metadata={
            "help": "what an ensemble makes of its scores of a step: their mean, the lowest, or the mean "
            "less their standard deviation"
        },
    )
    pessimism: float | None = field(
        default=None,
        metadata={
            "help": "replace each score by a lower bound, at this confidence (as 0.95), of the chance that a "
            "step with such a score is right, as counted on held-out rows at the end of the scorer's "
            "training or by `prm-train calibrate`; null: take scores as they are"
        },
    )
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
    cache_bytes: int | None = field(
        default=None,
        metadata={
            "help": "maximum number of bytes of keys and values of steps that are kept to score the next "
            "ones; 0: none; null: an eighth of the memory that is free on the scorer's device, at most "
            "262,144 tokens",
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
        if self.cache_bytes is not None and self.cache_bytes < 0:
            raise ValueError(f"cache_bytes: got {self.cache_bytes}, expected 0 or more")
        if self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens: got {self.max_batch_tokens}, expected at least 1")
        self._check_care()

    def _check_care(self) -> None:
        if self.combination != "mean" and not self.ensemble:
            raise ValueError("combination: has no effect without ensemble; expected it to be left out")
        if self.pessimism is not None and not 0.5 < self.pessimism < 1:
            raise ValueError(f"pessimism: got {self.pessimism}, expected more than 0.5 and less than 1")

    @property
    def gives_own_scores(self) -> bool:
        """Whether scores are those of the checkpoint alone, for which thresholds in its config.json hold."""
        return not self.ensemble and self.pessimism is None

    def check_one(self, prm: str | None, orm: str | None) -> None:
        """Raises ValueError for servers or an ensemble that would have to be of two scorers, or of none, and
        for pessimism about none.
        """
        for name in ("servers", "ensemble"):
            if getattr(self, name) and (prm is None) == (orm is None):
                got = "no scorer" if prm is None else "prm and orm"
                raise ValueError(f"scorer.{name}: made for one scorer, got {got}; expected prm or orm")
        if self.pessimism is not None and prm is None and orm is None:
            raise ValueError("scorer.pessimism: has no effect without a scorer; expected prm or orm")

    def load(self, path: str, policy: PolicyConfig, prm_format: PrmFormat) -> "Scorer":
        """The scorer in `path`, with those of the ensemble if there are any. Raises InputError where there is
        no scorer, or a server that cannot score for it; where scorers do not go together; and where nothing
        is known to be pessimistic by.
        """
        scorers = [
            self._cautious(self._load_one(each, policy, prm_format), each, policy.trust_remote_code)
            for each in (path, *self.ensemble)
        ]
        if len({scorer.scorer_id for scorer in scorers}) < len(scorers):
            raise InputError(f"scorer.ensemble: {', '.join((path, *self.ensemble))}: two are one scorer")
        try:
            return EnsembleScorer(scorers, self.combination) if self.ensemble else scorers[0]
        except ValueError as error:
            raise InputError(f"scorer.{error}") from None

    def _cautious(self, scorer: "Scorer", path: str, trust_remote_code: bool) -> "Scorer":
        if self.pessimism is None:
            return scorer
        from prm_train.checkpoints.facts import read_config_facts
        from prm_train.scoring.cautious import CautiousScorer

        reliability = read_config_facts(path, trust_remote_code).reliability
        if reliability is None:
            raise InputError(
                f"scorer.pessimism: {path}: its config.json does not say how often its scores are right; "
                "`prm-train calibrate` counts that on held-out rows (--method none: without calibrating)"
            )
        return CautiousScorer(scorer, reliability, self.pessimism)

    def _load_one(self, path: str, policy: PolicyConfig, prm_format: PrmFormat) -> "Scorer":
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
