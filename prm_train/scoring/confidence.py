"""How sure a language model is of a text that it wrote, token by token, from the distributions that it
gives each token: measures that need no training.

- Self-certainty (Kang et al. 2025, "Scalable Best-of-N selection via self-certainty"): the divergence of the
  model's distribution p from the uniform one, KL(uniform || p) = -mean over the vocabulary of log(V p); of a
  text, the mean over its tokens.
- Token confidence (Fu et al. 2025, "Deep Think with Confidence"): minus the mean log-probability of the 20
  most likely tokens. Of a text: the mean, that of the last tokens (`tail`), or of groups of consecutive
  tokens the `lowest` mean and the mean of the `bottom` tenth.

Both grow as the distribution gets sharper. All distributions are those at temperature 1, whatever drew the
text.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.models.forward_settings import short_length
from data_gen.settings.errors import InputError

TOP_K = 20
BOTTOM_SHARE = 0.1
MAX_LOGITS = 2**27  # of a batch: 512 MiB in float32


def self_certainty(log_probs: Float[Tensor, "token vocabulary"]) -> Float[Tensor, " token"]:
    """KL(uniform || p) of each token's distribution, in nats; 0 for a uniform one."""
    return -log_probs.mean(-1, dtype=torch.float64) - math.log(log_probs.shape[-1])


def token_confidence(log_probs: Float[Tensor, "token vocabulary"]) -> Float[Tensor, " token"]:
    """Minus the mean of the `TOP_K` highest log-probabilities of each token's distribution."""
    highest = log_probs.topk(min(TOP_K, log_probs.shape[-1])).values
    return -highest.mean(-1, dtype=torch.float64)


def group_means(values: Float[Tensor, " token"], window: int) -> Float[Tensor, " group"]:
    """Means of each `window` consecutive values; of fewer values one mean of all."""
    return values.unfold(0, min(window, len(values)), 1).mean(-1)


def deepconf_scores(confidence: Float[Tensor, " token"], window: int) -> dict[str, float]:
    """The confidence of a text by each way of summing up that of its tokens."""
    groups = group_means(confidence, window).sort().values
    n_bottom = max(1, int(BOTTOM_SHARE * len(groups)))
    return {
        "mean": float(confidence.mean()),
        "tail": float(confidence[-window:].mean()),
        "lowest": float(groups[0]),
        "bottom": float(groups[:n_bottom].mean()),
    }


class ConfidenceModel:
    """A causal language model that reads whole texts; a group of tokens has `window` of them."""

    def __init__(self, model: Any, window: int) -> None:
        self.model, self.window = model.eval(), window
        # Short and long texts of a LongRoPE model share no pass
        self.reads_alone = short_length(model.config) is not None

    def measure(
        self, prompt_ids: tuple[int, ...], texts: Sequence[tuple[int, ...]]
    ) -> list[Mapping[str, float]]:
        """`self_certainty`, and `deepconf mean` and so on, of each text behind the prompt.

        Raises ValueError for a text without tokens, InputError for a model that gives some token the
        probability 0: infinitely far from uniform.
        """
        if not all(texts):
            raise ValueError("texts: one has no tokens, expected one or more")
        found: dict[int, Mapping[str, float]] = {}
        for batch in self._batches(len(prompt_ids), texts):
            distributions = self._log_probs(prompt_ids, [texts[number] for number in batch])
            found.update(zip(batch, map(self._measures, distributions), strict=True))
        return [found[number] for number in range(len(texts))]

    def _measures(self, log_probs: Float[Tensor, "token vocabulary"]) -> Mapping[str, float]:
        if not log_probs.isfinite().all():
            raise InputError(
                "baselines: the policy gives some tokens the probability 0, expected finite logits"
            )
        confidence = deepconf_scores(token_confidence(log_probs), self.window)
        return {
            "self_certainty": float(self_certainty(log_probs).mean()),
            **{f"deepconf {way}": score for way, score in confidence.items()},
        }

    def _batches(self, n_prompt: int, texts: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Numbers of texts of like length, whose logits are `MAX_LOGITS` at most, or those of one text."""
        n_vocabulary = self.model.get_output_embeddings().weight.shape[0]
        batch: list[int] = []
        for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
            n_logits = (len(batch) + 1) * (n_prompt + len(texts[number])) * n_vocabulary
            if batch and (self.reads_alone or n_logits > MAX_LOGITS):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    @torch.inference_mode()
    def _log_probs(
        self, prompt_ids: tuple[int, ...], texts: Sequence[tuple[int, ...]]
    ) -> Iterator[Float[Tensor, "token vocabulary"]]:
        """Of each text, the distributions that its tokens were drawn from; padding on the right is never
        seen.
        """
        n_prompt, n_longest = len(prompt_ids), max(map(len, texts))
        rows = [[*prompt_ids, *ids, *[0] * (n_longest - len(ids))] for ids in texts]
        input_ids = torch.tensor(rows, device=self.model.device)  # (B, T)
        logits = self.model(input_ids=input_ids, use_cache=False).logits  # (B, T, V)
        for row, ids in zip(logits, texts, strict=True):
            yield row[n_prompt - 1 : n_prompt - 1 + len(ids)].float().log_softmax(-1)
