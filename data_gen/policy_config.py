"""The policy section of a config: which language model writes solutions, and where it runs. Loads without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_gen.policies.protocol import Policy

BASE_POLICY = Path(__file__).parent / "base_policy"


@dataclass(frozen=True)
class PolicyConfig:
    """The language model that writes solutions."""

    model: str = field(
        default="base", metadata={"help": "'base' (the policy that ships with the built-in task), 'simulated', a folder or a Hub name"}
    )
    prompt_template: str = field(default="{question}", metadata={"help": "what the policy is asked; holds {question}, may hold examples"})
    base_seed: int = field(default=0, metadata={"help": "names the stream of sampling noise"})
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "cpu"
    max_rows: int = field(default=256, metadata={"help": "rows of the batch"})
    trust_remote_code: bool = False

    def load(self) -> Policy:
        if self.model == "simulated":
            from data_gen.policies.simulated import SimulatedPolicy

            return SimulatedPolicy(self.base_seed)
        from data_gen.policies.transformers_policy import load_policy

        return load_policy(
            str(BASE_POLICY) if self.model == "base" else self.model,
            base_seed=self.base_seed,
            prompt_template=self.prompt_template,
            dtype=self.dtype,
            device=self.device,
            max_rows=self.max_rows,
            trust_remote_code=self.trust_remote_code,
        )
