"""`prm-train serve-policy`: a policy behind `/v1/completions`, for other processes and machines to draw from
(`policy.servers`).

It runs the engine of this package; for a large model on accelerators start vLLM's own server, which the same
client talks to.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.policies.servers.listen_settings import ListenSettings
from data_gen.settings.api_keys import read_api_key
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServePolicyConfig(ListenSettings):
    """Serve a policy over HTTP, as vLLM's server does."""

    model: str = field(
        metadata={
            "help": "the model to serve: 'base' (the policy that ships with the built-in task), 'simulated', "
            "a folder or a Hub name"
        }
    )
    name: str | None = field(
        default=None, metadata={"help": "the name by which clients call the model; null: the same as `model`"}
    )
    base_seed: int = field(
        default=0,
        metadata={"help": "seed of the sampling noise; the seed of a request chooses a draw under it"},
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "number format of the weights"}
    )
    device: str = field(default="cpu", metadata={"help": "device of the model, as cuda:0"})
    max_rows: int = field(default=256, metadata={"help": "how many texts are computed at a time"})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files"}
    )

    def __post_init__(self) -> None:
        self.check_listening()
        _ = self.policy  # refuses what no policy can have

    @property
    def policy(self) -> PolicyConfig:
        return PolicyConfig(
            model=self.model,
            base_seed=self.base_seed,
            dtype=self.dtype,
            device=self.device,
            max_rows=self.max_rows,
            trust_remote_code=self.trust_remote_code,
        )


def text_encoder(policy: Policy) -> Callable[[str], tuple[int, ...]]:
    """Ids of a text as it stands, without prompt template."""
    from data_gen.policies.simulated import SimulatedPolicy

    if isinstance(policy, SimulatedPolicy):
        return lambda text: tuple(text.encode())
    from data_gen.policies.engine.transformers_policy import TransformersPolicy

    assert isinstance(policy, TransformersPolicy)
    return lambda text: tuple(policy.tokenizer.encode(text))


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ServePolicyConfig, argv)
    try:
        from data_gen.policies.servers.completions_server import CompletionsServer
        from data_gen.policies.servers.http_listener import listen, new_server, serve
    except ImportError as error:
        raise InputError(
            f"serve-policy needs starlette and uvicorn ({error}): pip install 'prm-train[serve]'"
        ) from error
    key = read_api_key(config.api_key_env)
    listener = listen(config.host, config.port)
    policy = config.policy.load()
    name = config.name or config.model
    server = CompletionsServer(policy, text_encoder(policy), name, key)
    logger.info(
        "serving %s on http://%s:%d (policy_id %s)",
        name,
        config.host,
        listener.getsockname()[1],
        policy.policy_id,
    )
    asyncio.run(serve(new_server(server.app), listener))


if __name__ == "__main__":
    run_command(main, "serve-policy")
