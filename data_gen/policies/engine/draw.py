"""One draw on its way to a completion, and how its tokens are chosen."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.policies.engine.truncation import truncated
from data_gen.records.sampling import FinishReason, SamplingParams, Truncation, Usage
from data_gen.records.steps import StepScanner
from data_gen.records.stop_strings import StopStrings

# Over this many tokens or fewer, float32 sums of probabilities are exact to about 1e-6. Larger vocabularies
# are summed in float64.
SMALL_VOCABULARY = 4096


@dataclass(eq=False, slots=True)
class Draw:
    """One draw on its way to a completion. `noise` gives a uniform number in [0, 1) for each token in turn.

    A batch (`row_batch`, `plain_batch`) sets the fields below `finish_reason`; `row_batch` tells how they
    change in the life of a draw.
    """

    prefix_ids: tuple[int, ...]
    params: SamplingParams
    # The most tokens that the draw may have: max_new_tokens, or less where the context is nearly full.
    n_room: int
    noise: random.Random

    # What ends the draw before EOS: a step separator (`scanner`) or stop strings, each with its state after
    # the tokens so far.
    scanner: StepScanner | None
    stop_strings: StopStrings | None = None
    scan_state: int = StepScanner.START
    # The last bytes of the text, in which a stop string may have begun.
    tail: bytes = b""

    # The completion so far.
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    # What the prefix cost: ids that were computed for this draw, and ids whose keys and values were there
    # already.
    n_prefilled: int = 0
    n_cached: int = 0

    # The draw's place in its batch: the row in its tier, how many ids' keys and values the row holds, and the
    # id to feed next.
    row: int = 0
    n_fed: int = 0
    next_id: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(len(self.token_ids), self.n_prefilled, self.n_cached)

    def record(self, token_id: int, logprob: float, eos_ids: frozenset[int]) -> bool:
        """Append a token and return whether the draw ends with it."""
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        self.next_id = token_id

        if token_id in eos_ids:
            self.finish_reason = FinishReason.EOS
            return True

        ends = False
        if self.scanner is not None:
            self.scan_state, ends = self.scanner.advance(self.scan_state, token_id)
        if self.stop_strings is not None and not ends:
            self.tail, ends = self.stop_strings.advance(self.tail, token_id)
        if ends:
            self.finish_reason = FinishReason.STOP
            return True

        if len(self.token_ids) == self.n_room:
            self.finish_reason = FinishReason.LENGTH
            return True
        return False


def choose_tokens(
    logits: Float[Tensor, "row vocabulary"],
    uniforms: Float[Tensor, " row"],
    temperatures: Float[Tensor, " row"],
    truncations: Sequence[Truncation] = (),
) -> tuple[list[int], list[float]]:
    """For each row a token, by inverting the cumulative distribution at the row's uniform number, and its
    log-probability at temperature 1.

    Temperature 0 takes the most likely token. Probabilities are summed in the order of the ids, so that a
    token depends on nothing but its own row. `truncations` (top_p, top_k, min_p) holds one entry for each
    row, or none where every token may be drawn.
    """
    uniforms, temperatures = uniforms.to(logits.device), temperatures.to(logits.device)
    is_plain, is_greedy = bool((temperatures == 1).all()), temperatures == 0
    weights = (logits if is_plain else logits / temperatures.masked_fill(is_greedy, 1.0)[:, None]).softmax(-1)
    allowed = truncated(weights, truncations)

    cumulative = allowed.cumsum(
        -1, dtype=torch.float32 if logits.shape[-1] <= SMALL_VOCABULARY else torch.float64
    )
    total = cumulative[:, -1:]
    # The threshold stays below the total. Rounded up to it, the search would return an id behind the last
    # token with any weight.
    threshold = torch.minimum(
        (uniforms[:, None] * total).to(total.dtype), torch.nextafter(total, torch.zeros_like(total))
    )
    tokens = torch.searchsorted(cumulative, threshold, right=True)

    # At temperature 1 in every row, `weights` are the probabilities already: no second softmax is needed.
    if is_plain:
        return tokens[:, 0].tolist(), weights.gather(1, tokens)[:, 0].log().tolist()
    tokens = torch.where(is_greedy[:, None], logits.argmax(-1, keepdim=True), tokens)
    return tokens[:, 0].tolist(), logits.log_softmax(-1).gather(1, tokens)[:, 0].tolist()
