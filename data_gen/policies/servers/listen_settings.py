"""Where a server of ours listens, and the key that it wants. Loads without torch and without starlette."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Interval

from data_gen.settings.api_keys import check_api_key_env


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """To be inherited by the config of a command that serves, which calls `check_listening`."""

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

    def check_listening(self) -> None:
        """Raises ValueError."""
        check_api_key_env(self.api_key_env)
