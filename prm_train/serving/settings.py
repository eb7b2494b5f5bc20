"""The settings of `prm-train serve`: those of `prm-train solve`, where it listens, and what it bounds. Loads
without torch.
"""

from dataclasses import dataclass, field
from pathlib import Path

from data_gen.policies.servers.listen_settings import ListenSettings
from prm_train.search.budget import PRICES
from prm_train.search.solve_settings import SolverConfig
from prm_train.serving.named_models import check_named, check_names, shown_name
from prm_train.serving.operations.settings import CacheSettings, LogSettings, Quota

PRICES_OF_POLICY = {"generated": PRICES[0], "prompt": PRICES[1]}
LEAST_LEDGER = 2**20  # an empty one takes 28 kB
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
class ServeConfig(ListenSettings, SolverConfig):
    """Serve answers by search, and the scores of steps, over HTTP. What a request leaves out is as set
    here.
    """

    name: str | None = field(
        default=None,
        metadata={
            "help": "the name by which clients call the policy; null: that of policy.model, of a folder its "
            "last part"
        },
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
    policy_prices: dict[str, dict[str, float]] = field(
        default_factory=dict,
        metadata={
            "help": "prices of other policies than the server's own, a router's large one included, by their "
            "names: {large: {generated: 2.4, prompt: 0.6}}, of a million tokens; who is not named has the "
            "server's prices"
        },
    )
    ledger: Path | None = field(
        default=None,
        metadata={
            "help": "file that keeps all draws: a request with a seed that was asked before, with a larger n "
            "say, draws only what is missing; null: draws are kept until their request is answered"
        },
    )
    ledger_max_bytes: int | None = field(
        default=None,
        metadata={
            "help": "size at which the ledger's file is set aside, as NAME.old in place of the one before, "
            "and a new one begins; null: it grows with each new draw"
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
    max_sessions_per_key: int | None = field(
        default=None,
        metadata={
            "help": "scoring sessions that one key may have open; null: a quarter of max_sessions where "
            "there are several keys, otherwise all"
        },
    )
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
        self.check_listening()
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if self.max_sessions_per_key is not None and not 0 < self.max_sessions_per_key <= self.max_sessions:
            raise ValueError(
                f"max_sessions_per_key: got {self.max_sessions_per_key}, expected 1 to max_sessions, "
                f"{self.max_sessions}"
            )
        if self.ledger_max_bytes is not None and (
            self.ledger is None or self.ledger_max_bytes < LEAST_LEDGER
        ):
            raise ValueError(
                f"ledger_max_bytes: got {self.ledger_max_bytes}, expected {LEAST_LEDGER} or more, and a "
                "ledger"
            )
        if self.max_queue < 0:
            raise ValueError(f"max_queue: got {self.max_queue}, expected 0 or more")
        check_names((self.policy_name, self.scorer_label, self.large_name, *self.policies, *self.scorers))
        if self.scorers and self.scorer_label is None:
            raise ValueError("scorers: got some without prm or orm, expected one of these, too")
        if self.n > self.max_n:
            raise ValueError(f"n: got {self.n}, expected at most max_n, {self.max_n}")

        self._check_prices()

    def _check_prices(self) -> None:
        others = [name for name in (self.large_name, *self.policies) if name is not None]
        for name, prices in self.policy_prices.items():
            if name not in others:
                known = ", ".join(others) or "none, for there is no other policy"
                raise ValueError(f"policy_prices: got {name!r}, expected some of: {known}")
            for kind, price in prices.items():
                if kind not in PRICES_OF_POLICY or not price >= 0:
                    raise ValueError(
                        f"policy_prices.{name}: got {kind}: {price:g}, expected generated and prompt, 0 or "
                        "more"
                    )

    def check(self) -> None:
        super().check()
        check_named(self.policies, self.scorers)

    def sessions_per_key(self, n_keys: int) -> int:
        share = self.max_sessions if n_keys < 2 else max(1, self.max_sessions // 4)
        return self.max_sessions_per_key or share

    @property
    def reports_money(self) -> bool:
        """In `usage`."""
        return True

    @property
    def has_prices(self) -> bool:
        return bool(self.policy_prices) or any(price is not None for price in self.prices.values())

    def prices_of(self, policy: str | None) -> dict[str, float | None]:
        """Those of a policy by its name (None: the server's own), and of the scorer."""
        own = {} if policy is None else self.policy_prices.get(policy, {})
        return self.prices | {PRICES_OF_POLICY[kind]: price for kind, price in own.items()}

    @property
    def policy_name(self) -> str:
        return self.name or shown_name(self.policy.name)

    @property
    def large_name(self) -> str | None:
        """None without a large policy."""
        return None if self.large_policy is None else shown_name(self.large_policy.name)

    @property
    def scorer_label(self) -> str | None:
        """None without a scorer."""
        kind = "prm" if self.prm is not None else "orm" if self.orm is not None else None
        return kind and (self.scorer_name or kind)
