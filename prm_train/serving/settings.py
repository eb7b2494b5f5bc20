"""The settings of `prm-train serve`: those of `prm-train solve`, where it listens, and what it bounds. Loads
without torch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from data_gen.settings.api_keys import check_api_key_env
from prm_train.search.solve_settings import SolverConfig
from prm_train.serving.named_models import check_named, check_names
from prm_train.serving.operations.settings import CacheSettings, LogSettings, Quota

POSITIVE = (
    "max_n",
    "max_concurrency",
    "max_sessions",
    "max_session_nodes",
    "max_session_bytes",
    "session_idle_seconds",
    "drain_seconds",
)


@dataclass(frozen=True)
class ServeConfig(SolverConfig):
    """Serve answers by search, and the scores of steps, over HTTP. What a request leaves out is as set
    here.
    """

    name: str | None = field(
        default=None,
        metadata={"help": "the name by which clients call the policy; null: the same as policy.model"},
    )
    scorer_name: str | None = field(
        default=None,
        metadata={"help": "the name by which clients of /pooling call the scorer; null: prm or orm"},
    )
    policies: dict[str, Path] = field(
        default_factory=dict,
        metadata={
            "help": "further policies that clients choose by model: to a name the YAML file with what stands "
            "under policy"
        },
    )
    scorers: dict[str, Path] = field(
        default_factory=dict,
        metadata={
            "help": "further scorers that clients choose by search.scorer, or as the model of /v1/score: to "
            "a name the YAML file with prm or orm, and what stands under scorer"
        },
    )
    host: str = field(
        default="127.0.0.1",
        metadata={"help": "address to listen on; 0.0.0.0 admits every machine that can reach this one"},
    )
    port: Annotated[int, Interval(ge=0, le=65535)] = field(
        default=8000, metadata={"help": "port to listen on; 0 takes a free one, which the log names"}
    )
    api_key_env: str | None = field(
        default=None,
        metadata={
            "help": "NAME of the environment variable with the API key that requests must carry; null: no key"
        },
    )
    ledger: Path | None = field(
        default=None,
        metadata={
            "help": "file that keeps all draws: a request with a seed that was asked before, with a larger n "
            "say, draws only what is missing; null: draws are kept until their request is answered"
        },
    )
    page: bool = field(
        default=True,
        metadata={"help": "serve a page at / on which people ask and watch the search"},
    )
    api_keys: Path | None = field(
        default=None,
        metadata={
            "help": "YAML file of API keys with names and quotas, one of which requests must carry; "
            "prm_train/serving/operations/api_keys.py shows one"
        },
    )
    quota: Quota = field(default_factory=Quota)
    cache: CacheSettings = field(default_factory=CacheSettings)
    log: LogSettings = field(default_factory=LogSettings)
    traces: bool = field(
        default=False,
        metadata={
            "help": "make OpenTelemetry spans and send them by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says"
        },
    )
    score_reference: Path | None = field(
        default=None,
        metadata={
            "help": "JSON file with `lows` and `counts` of the scores that are normal, for scorer_drift in "
            "/metrics; null: as the scorer's training left them, if it did"
        },
    )
    max_n: int = field(default=256, metadata={"help": "largest n that a request may ask for"})
    max_concurrency: int = field(
        default=32, metadata={"help": "requests that are searched or scored at a time; others wait"}
    )
    max_queue: int = field(
        default=256, metadata={"help": "requests that may wait; further ones are answered with 429"}
    )
    drain_seconds: int = field(
        default=30, metadata={"help": "time for requests under way when the server is told to end"}
    )
    max_sessions: int = field(default=256, metadata={"help": "scoring sessions that may be open"})
    max_session_nodes: int = field(default=4096, metadata={"help": "steps of a scoring session"})
    max_session_bytes: int = field(
        default=2**20,
        metadata={"help": "bytes of the texts of a scoring session, or of one request for scores"},
    )
    session_idle_seconds: float = field(
        default=600.0, metadata={"help": "a scoring session that is not used so long is closed"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_api_key_env(self.api_key_env)
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if self.max_queue < 0:
            raise ValueError(f"max_queue: got {self.max_queue}, expected 0 or more")
        large = None if self.large_policy is None else self.large_policy.name
        check_names((self.policy_name, self.scorer_label, large, *self.policies, *self.scorers))
        if self.scorers and self.scorer_label is None:
            raise ValueError("scorers: got some without prm or orm, expected one of these, too")
        if self.n > self.max_n:
            raise ValueError(f"n: got {self.n}, expected at most max_n, {self.max_n}")

    def check(self) -> None:
        super().check()
        check_named(self.policies, self.scorers)

    @property
    def reports_money(self) -> bool:
        """In `usage`."""
        return True

    @property
    def has_prices(self) -> bool:
        return any(price is not None for price in self.prices.values())

    @property
    def policy_name(self) -> str:
        return self.name or self.policy.name

    @property
    def scorer_label(self) -> str | None:
        """None without a scorer."""
        kind = "prm" if self.prm is not None else "orm" if self.orm is not None else None
        return kind and (self.scorer_name or kind)
