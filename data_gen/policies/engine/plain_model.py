"""The forward passes of any causal language model: with the cache that it makes itself, or of whole texts
where that is of no use.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from data_gen.models.forward_settings import n_checked_tokens
from data_gen.policies.engine.rounding import NOT_MADE_FOR, is_same_but_for_rounding

N_STEPS = 8  # tokens that a check goes on by
# What a forward pass returns for the next one, and takes under the same name
CACHE_NAMES = ("past_key_values", "cache_params")


class PlainModel:
    """Rows in a pass have one length, so there is no padding that a model could mistake for text.

    `cache_name` is None for a model whose cache does not reproduce the logits of the whole text (or that
    keeps its state to itself): its texts are computed again for every token.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.cache_name = next((name for name in CACHE_NAMES if name in accepted), None)
        if self.cache_name is not None and not self._goes_on_from_its_cache():
            self.cache_name = None

    def start(self, rows: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "row vocabulary"], Any]:
        """The logits (float32) of what follows each row, all of one length, and the cache to go on from."""
        output = self.model(
            input_ids=self._tensor(rows), use_cache=self.cache_name is not None, **self._last_logits
        )
        return output.logits[:, -1].float(), None if self.cache_name is None else getattr(
            output, self.cache_name, None
        )

    def go_on(self, token_ids: Sequence[int], cache: Any) -> Float[Tensor, "row vocabulary"]:
        """The logits (float32) of what follows one more token a row. `cache` then holds these, too."""
        assert self.cache_name is not None
        output = self.model(
            input_ids=self._tensor([[token] for token in token_ids]),
            use_cache=True,
            **{self.cache_name: cache},
        )
        return output.logits[:, -1].float()

    def _goes_on_from_its_cache(self) -> bool:
        """Whether token by token the logits are those of the whole text, up to rounding."""
        n_vocabulary = self.model.get_input_embeddings().num_embeddings
        n_tokens = n_checked_tokens(self.model.config)
        rows = [[i * step % n_vocabulary for i in range(1, n_tokens + 1)] for step in (7919, 104729)]
        n_first = n_tokens - min(N_STEPS, n_tokens - 1)
        kept = {name: n_tokens - n_first + 1 for name in self._last_logits}
        # (2, T, V)
        wanted = (
            self.model(input_ids=self._tensor(rows), use_cache=False, **kept)
            .logits[:, n_first - n_tokens - 1 :]
            .float()
        )
        try:
            logits, cache = self.start([row[:n_first] for row in rows])
            if cache is None:
                return False
            found = [
                logits,
                *(self.go_on([row[at] for row in rows], cache) for at in range(n_first, n_tokens)),
            ]
        except NOT_MADE_FOR:
            return False
        return is_same_but_for_rounding(
            torch.cat(found), wanted.transpose(0, 1).flatten(0, 1), self.model.dtype
        )

    def _tensor(self, rows: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(rows, device=self.model.device)
