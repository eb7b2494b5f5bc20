"""Measures of a solution that need no training, from the policy's own probabilities: what selections
without a verifier are made by. Loads without torch.

`chunk_likelihood` is the mean log-probability of the tokens of a chunk of fixed length, so that long
solutions are not at a disadvantage (Chegini and Feizi 2026, likelihood-guided selection; they choose each
chunk as it is written, with a larger model, while here whole solutions are compared by what their own
policy says of them). Of a solution, the `mean` of its chunks and the `lowest` one. It needs no computation,
since every draw comes with its log-probabilities. For the other measures (`prm_train.scoring.confidence`)
the policy reads each distinct solution once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from data_gen.policies.config import PolicyConfig
from data_gen.problems.tasks import model_path
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Solution

if TYPE_CHECKING:
    from prm_train.scoring.confidence import ConfidenceModel

Baseline = Literal["self_certainty", "deepconf", "chunk_likelihood"]
READ_BY_POLICY: tuple[Baseline, ...] = ("self_certainty", "deepconf")
CONFIDENCE = "confidence"  # the policy as a reader, among the scorers that a candidate has tokens for


def chunk_likelihoods(logprobs: Sequence[float], n_tokens: int) -> dict[str, float]:
    """Of the chunks of `n_tokens` tokens; the last one may be shorter."""
    means = [fmean(logprobs[first : first + n_tokens]) for first in range(0, len(logprobs), n_tokens)]
    return {"chunk_likelihood mean": fmean(means), "chunk_likelihood lowest": min(means)}


def check_baselines(baselines: Sequence[Baseline], policy: PolicyConfig) -> None:
    """Raises ValueError where the policy cannot read its solutions, since it is no model in this process."""
    named = [name for name in baselines if name in READ_BY_POLICY]
    where = (
        "servers"
        if policy.servers
        else "the engine vllm"
        if policy.engine == "vllm"
        else "the simulated policy"
        if policy.model == "simulated"
        else None
    )
    if named and where:
        raise ValueError(
            f"baselines: got {named[0]} with {where}, expected a policy of the engine transformers, whose "
            "whole distributions can be read (chunk_likelihood needs none)"
        )


def load_confidence(
    baselines: Sequence[Baseline], policy: PolicyConfig, window: int
) -> "ConfidenceModel | None":
    """The policy's model once more, beside that of the engine, which changes how its own one computes; None
    if no baseline needs it.
    """
    if not set(baselines) & set(READ_BY_POLICY):
        return None
    from transformers import AutoModelForCausalLM

    from data_gen.models.pretrained import load_model
    from prm_train.scoring.confidence import ConfidenceModel

    model = load_model(
        AutoModelForCausalLM,
        model_path(policy.name),
        dtype=policy.dtype,
        trust_remote_code=policy.trust_remote_code,
    )
    return ConfidenceModel(model.to(policy.device), window)


@dataclass(frozen=True)
class Measures:
    """Of a solution by name, and the tokens that the policy read for them (0: none)."""

    values: Mapping[str, float]
    n_read: int = 0


class ProblemBaselines:
    """The measures of one problem's solutions. `usage` is what reading each distinct solution once cost."""

    def __init__(
        self,
        baselines: Sequence[Baseline],
        model: "ConfidenceModel | None",
        prompt_ids: tuple[int, ...],
        chunk_tokens: int,
    ) -> None:
        self.baselines, self.model, self.prompt_ids = baselines, model, prompt_ids
        self.chunk_tokens = chunk_tokens
        self.usage = Usage()
        self._read: dict[tuple[int, ...], Mapping[str, float]] = {}

    def measure(self, solutions: Sequence[Solution]) -> list[Measures]:
        """In their order; nothing of a solution without tokens."""
        if self.model is not None:
            new = [
                ids
                for ids in dict.fromkeys(each.token_ids for each in solutions)
                if ids and ids not in self._read
            ]
            self._read.update(zip(new, self.model.measure(self.prompt_ids, new), strict=True))
            self.usage += Usage(n_prefilled=sum(len(self.prompt_ids) + len(ids) for ids in new))
        return [self._measures(solution) for solution in solutions]

    def _measures(self, solution: Solution) -> Measures:
        if not solution.token_ids:
            return Measures({})
        read = self._read.get(solution.token_ids, {})
        values = dict(read) | (
            chunk_likelihoods(solution.logprobs, self.chunk_tokens)
            if "chunk_likelihood" in self.baselines
            else {}
        )
        wanted = {name: value for name, value in values.items() if name.split()[0] in self.baselines}
        return Measures(wanted, len(self.prompt_ids) + len(solution.token_ids) if read else 0)
