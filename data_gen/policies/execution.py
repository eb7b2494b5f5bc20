"""What may change of a run's policy when the run goes on elsewhere: settings that change no draw."""

from dataclasses import dataclass, field, fields, replace

from data_gen.policies.config import PolicyConfig
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class PolicyExecution:
    """Where and how the policy of a run is computed from now on: settings of `PolicyConfig` that change no
    draw. null: as in the run.
    """

    device: str | None = field(
        default=None, metadata={"help": "device of the engine transformers, as cuda:0"}
    )
    max_rows: int | None = field(
        default=None, metadata={"help": "how many texts the engine transformers computes at a time"}
    )
    prefix_cache_bytes: int | None = field(
        default=None,
        metadata={"help": "maximum number of bytes of prefixes that the engine transformers keeps"},
    )
    tensor_parallel_size: int | None = field(
        default=None, metadata={"help": "for the engine vllm: number of GPUs that share the model"}
    )
    gpu_memory_utilization: float | None = field(
        default=None, metadata={"help": "for the engine vllm: share of a GPU's memory that it takes"}
    )
    trust_remote_code: bool | None = field(
        default=None, metadata={"help": "run code that comes with the model's files"}
    )
    servers: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "URLs of OpenAI-compatible servers, or @file with one URL on each line; an empty list: "
            "none"
        },
    )
    api_key_env: str | None = field(
        default=None,
        metadata={"help": "NAME of the environment variable that holds the API key of the servers"},
    )
    max_concurrency: int | None = field(
        default=None, metadata={"help": "how many draws are under way at each server"}
    )
    timeout_seconds: float | None = field(
        default=None, metadata={"help": "longest time to wait for a server's reply"}
    )
    n_attempts: int | None = field(
        default=None, metadata={"help": "how often a draw is requested before the run gives up"}
    )
    retry_seconds: float | None = field(
        default=None, metadata={"help": "pause before a draw is requested again; it doubles each time"}
    )

    def of(self, policy: PolicyConfig) -> PolicyConfig:
        """The policy with these settings. Raises InputError for what has no effect there."""
        given = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) is not None
        }
        try:
            return replace(policy, **given)
        except ValueError as error:
            raise InputError(f"policy.{error}") from None
