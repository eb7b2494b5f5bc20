"""The policy section of a config: which language model writes solutions, and where it runs. Loads without
torch.
"""

import logging
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from data_gen.models.names import check_model, model_line
from data_gen.models.prompt_layout import PromptLayout
from data_gen.policies.protocol import Policy
from data_gen.policies.servers.addresses import server_url, server_urls
from data_gen.problems.tasks import DEFAULT_TASK, model_path, shipped_models, task_of
from data_gen.settings.api_keys import check_api_key_env

logger = logging.getLogger(__name__)
BUILT_IN = (*shipped_models(), "simulated")  # names of models that stand for no folder of the user's
VLLM_ONLY = ("tensor_parallel_size", "gpu_memory_utilization")
IN_PROCESS_ONLY = ("engine", "dtype", "device", "max_rows", "prefix_cache_bytes", *VLLM_ONLY)
SERVERS_ONLY = (
    "api_key_env",
    "tokenizer",
    "revision",
    "max_concurrency",
    "timeout_seconds",
    "n_attempts",
    "retry_seconds",
)


@dataclass(frozen=True)
class PolicyConfig:
    """The language model that writes solutions. It runs in this process, or behind `servers`."""

    model: str | None = field(
        default=None,
        metadata={
            "help": "the language model: 'base' (the policy of the built-in task), 'simulated', a folder, "
            "gguf:FILE or a Hub name; with `servers` the name they know it by. null: 'base' for the built-in "
            "task; other problems need a name"
        },
    )
    prompt_template: str = field(
        default="{question}",
        metadata={"help": "text that the policy is given; holds {question}, and may hold worked examples"},
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "system message before the question in the chat template; null: none"}
    )
    chat_template_kwargs: dict[str, bool | int | float | str | None] = field(
        default_factory=dict,
        metadata={"help": "variables for the chat template, as {enable_thinking: false}"},
    )
    base_seed: int = field(
        default=0, metadata={"help": "seed of the sampling noise: another seed gives other draws"}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files", "is_execution": True}
    )
    engine: Literal["transformers", "vllm"] = field(
        default="transformers", metadata={"help": "library that runs the model in this process"}
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "number format of the weights; another one is another policy"}
    )
    device: str = field(
        default="cpu",
        metadata={
            "help": "device of the engine transformers, as cuda:0; vllm chooses its own",
            "is_execution": True,
        },
    )
    max_rows: int = field(
        default=256,
        metadata={"help": "how many texts the engine transformers computes at a time", "is_execution": True},
    )
    prefix_cache_bytes: int | None = field(
        default=None,
        metadata={
            "help": "maximum number of bytes of keys and values of prefixes that the engine transformers "
            "keeps, for the next steps of a search; 0: none; null: a quarter of the memory that is free on "
            "its device, at most 262,144 tokens; give a number where many processes share it",
            "is_execution": True,
        },
    )
    tensor_parallel_size: int = field(
        default=1,
        metadata={"help": "for the engine vllm: number of GPUs that share the model", "is_execution": True},
    )
    gpu_memory_utilization: float | None = field(
        default=None,
        metadata={
            "help": "for the engine vllm: share of a GPU's memory that it takes; null: vllm's own default",
            "is_execution": True,
        },
    )
    servers: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "URLs of OpenAI-compatible servers, or @file with one URL on each line; what is written "
            "into it during a run joins, if it is a replica",
            "is_execution": True,
        },
    )
    api_key_env: str | None = field(
        default=None,
        metadata={
            "help": "NAME of the environment variable that holds the API key of the servers",
            "is_execution": True,
        },
    )
    tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "folder or Hub name of the tokenizer of the servers' model; null: the same as `model`"
        },
    )
    revision: str = field(
        default="",
        metadata={
            "help": "your name for the weights that the servers hold: another revision is another policy"
        },
    )
    max_concurrency: int = field(
        default=128, metadata={"help": "how many draws are under way at each server", "is_execution": True}
    )
    timeout_seconds: float = field(
        default=600.0, metadata={"help": "longest time to wait for a server's reply", "is_execution": True}
    )
    n_attempts: int = field(
        default=10,
        metadata={"help": "how often a draw is requested before the run gives up", "is_execution": True},
    )
    retry_seconds: float = field(
        default=0.5,
        metadata={
            "help": "pause before a draw is requested again; it doubles each time",
            "is_execution": True,
        },
    )

    def __post_init__(self) -> None:
        not_of_engine = ("device",) if self.engine == "vllm" else VLLM_ONLY
        unused = IN_PROCESS_ONLY if self.servers else SERVERS_ONLY + not_of_engine
        changed = [
            each.name
            for each in fields(self)
            if each.name in unused and getattr(self, each.name) != each.default
        ]
        if changed:
            where = "with servers" if self.servers else f"for a policy in this process (engine {self.engine})"
            raise ValueError(f"{changed[0]}: has no effect {where}; expected it to be left out")
        if self.engine == "vllm" and self.model == "simulated":
            raise ValueError(
                "engine: the simulated policy is no model that vllm could run; expected transformers"
            )
        check_api_key_env(self.api_key_env)
        if self.model == "simulated" and (self.system_prompt is not None or self.chat_template_kwargs):
            raise ValueError(
                "system_prompt, chat_template_kwargs: the simulated policy has no chat template; expected "
                "them to be left out"
            )
        _ = self.prompt  # which checks its values
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(
                f"gpu_memory_utilization: got {self.gpu_memory_utilization}, expected more than 0 and at "
                "most 1"
            )
        if self.prefix_cache_bytes is not None and self.prefix_cache_bytes < 0:
            raise ValueError(f"prefix_cache_bytes: got {self.prefix_cache_bytes}, expected 0 or more")
        for number in (
            "tensor_parallel_size",
            "max_rows",
            "max_concurrency",
            "timeout_seconds",
            "n_attempts",
            "retry_seconds",
        ):
            if getattr(self, number) <= 0:
                raise ValueError(f"{number}: got {getattr(self, number)}, expected more than 0")
        for url in self.servers:
            if not url.startswith("@"):
                server_url(url)

    @property
    def name(self) -> str:
        return self.model or DEFAULT_TASK.policy

    def named_for(self, source: str) -> "PolicyConfig":
        """With a model that is named, for problems from `source`. Raises ValueError where they are not the
        built-in ones and none is named: the base policy knows nothing of other problems.
        """
        task = task_of(source)
        if self.model is None and task is None:
            raise ValueError(
                f"policy.model: no model for {source}; expected a folder or a Hub name ('base' knows the "
                "built-in task alone)"
            )
        return replace(self, model=self.model or (task or DEFAULT_TASK).policy)

    def check(self) -> None:
        """Raises InputError for a model or tokenizer that is not there, without loading anything."""
        if not self.servers and self.name not in BUILT_IN:
            check_model("policy.model", self.name)
        tokenizer = self.tokenizer or self.name
        if self.servers and tokenizer not in BUILT_IN:
            check_model(
                "policy.tokenizer" if self.tokenizer else "policy.model", tokenizer, "tokenizer_config.json"
            )
        server_urls(self.servers)

    def load(self) -> Policy:
        """Raises InputError, among others for a server that does not answer or that cannot make step
        rollouts.
        """
        self.check()
        model = model_path(self.name)
        if self.servers:
            logger.info("policy %s: behind %s", self.name, ", ".join(self.servers))
            return self._connect()
        if self.name == "simulated":
            from data_gen.policies.simulated import SimulatedPolicy

            logger.info(
                "policy simulated: no model, but a program that solves the built-in task with mistakes"
            )
            return SimulatedPolicy(self.base_seed)
        if self.engine == "vllm":
            from data_gen.policies.servers.vllm_policy import load_vllm_policy

            logger.info("policy %s: by vllm, %s", self.name, self.dtype)
            return load_vllm_policy(
                model,
                base_seed=self.base_seed,
                dtype=self.dtype,
                max_rows=self.max_rows,
                trust_remote_code=self.trust_remote_code,
                tensor_parallel_size=self.tensor_parallel_size,
                prompt=self.prompt,
                **(
                    {}
                    if self.gpu_memory_utilization is None
                    else {"gpu_memory_utilization": self.gpu_memory_utilization}
                ),
            )
        from data_gen.policies.engine.transformers_policy import load_policy

        policy = load_policy(
            model,
            base_seed=self.base_seed,
            dtype=self.dtype,
            device=self.device,
            max_rows=self.max_rows,
            prefix_cache_bytes=self.prefix_cache_bytes,
            trust_remote_code=self.trust_remote_code,
            prompt=self.prompt,
        )
        logger.info("%s", model_line("policy", self.name, policy.n_parameters, self.dtype, self.device))
        return policy

    @property
    def prompt(self) -> PromptLayout:
        return PromptLayout(self.prompt_template, self.system_prompt, self.chat_template_kwargs)

    def _connect(self) -> Policy:
        from data_gen.policies.servers.openai_servers import connect
        from data_gen.policies.servers.requests import RequestSettings
        from data_gen.policies.vocabulary import load_vocabulary

        tokenizer = self.tokenizer or self.name
        vocabulary = load_vocabulary(model_path(tokenizer), self.prompt, self.trust_remote_code)
        settings = RequestSettings(
            self.api_key_env, self.max_concurrency, self.timeout_seconds, self.n_attempts, self.retry_seconds
        )
        return connect(
            self.servers,
            self.name,
            vocabulary,
            settings,
            base_seed=self.base_seed,
            revision=self.revision,
        )


def load_policy(model: str = "base", **settings: Any) -> Policy:
    """The policy `model` ('base', 'simulated', a folder, a Hub name, or what servers call it) with settings
    of `PolicyConfig`.

    Raises ValueError for settings that do not go together, InputError for a model that is not there.
    """
    return PolicyConfig(model, **settings).load()
