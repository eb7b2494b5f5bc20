"""How draws choose their next tokens from the logits of their histories."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from data_gen.policies.engine.draw import Choice, History
from data_gen.policies.engine.truncation import truncated
from data_gen.records.sampling import Truncation

# Over this many tokens or fewer, float32 sums of probabilities are exact to about 1e-6. Larger vocabularies
# are summed in float64.
SMALL_VOCABULARY = 4096
# Draws × vocabulary of one part of a choice, unless there are more logits than that.
PART_NUMBERS = 2**22


def choose_next(
    histories: Sequence[History], rows: Sequence[int], logits: Float[Tensor, "row vocabulary"]
) -> list[list[tuple[int, float]]]:
    """For each history the token of each of its draws, and the token's log-probability at temperature 1.
    `rows[i]` is the row of logits of history i.

    Each draw has its own stream of noise, so the rest of the batch has no influence on its tokens. The draws
    of a history share one distribution, or a few where their temperatures or truncations differ.
    """
    draws = [(row, draw) for row, history in zip(rows, histories, strict=True) for draw in history.draws]
    n_part = max(len(logits), PART_NUMBERS // logits.shape[-1])
    chosen: list[tuple[int, float]] = []
    for start in range(0, len(draws), n_part):
        part = draws[start : start + n_part]
        places: dict[tuple[int, Choice], int] = {}
        place_of = [places.setdefault((row, draw.choice), len(places)) for row, draw in part]
        chosen += _choose(places, place_of, [draw.uniform() for _, draw in part], logits)
    found = iter(chosen)
    return [[next(found) for _ in history.draws] for history in histories]


def _choose(
    places: dict[tuple[int, Choice], int],
    place_of: list[int],
    uniforms: list[float],
    logits: Float[Tensor, "row vocabulary"],
) -> list[tuple[int, float]]:
    """The choices of draws, each from the distribution at its place. `places` are those of all
    distributions.
    """
    rows = [row for row, _ in places]
    # The usual case, one distribution of every row, saves copies.
    if rows != list(range(len(logits))):
        logits = logits[torch.tensor(rows, device=logits.device)]
    shared = None if len(place_of) == len(places) else torch.tensor(place_of, device=logits.device)
    tokens, logprobs = choose_tokens(
        logits,
        torch.tensor(uniforms, dtype=torch.float64),
        torch.tensor([choice.temperature for _, choice in places]),
        [choice.truncation for _, choice in places],
        shared,
    )
    return list(zip(tokens, logprobs, strict=True))


def choose_tokens(
    logits: Float[Tensor, "row vocabulary"],
    uniforms: Float[Tensor, " draw"],
    temperatures: Float[Tensor, " row"],
    truncations: Sequence[Truncation] = (),
    rows: Int[Tensor, " draw"] | None = None,
) -> tuple[list[int], list[float]]:
    """For each draw a token, by inverting the cumulative distribution of its row at the draw's uniform
    number, and its log-probability at temperature 1.

    `rows` gives the row of each draw (None: a row each). Temperature 0 takes the most likely token.
    Probabilities are summed in the order of the ids, so that a token depends on nothing but its own row.
    `truncations` (top_p, top_k, min_p) holds one entry for each row, or none where every token may be drawn.
    """
    uniforms, temperatures = uniforms.to(logits.device), temperatures.to(logits.device)
    is_plain, is_greedy = bool((temperatures == 1).all()), temperatures == 0
    weights = (logits if is_plain else logits / temperatures.masked_fill(is_greedy, 1.0)[:, None]).softmax(-1)
    cumulative = truncated(weights, truncations).cumsum(
        -1, dtype=torch.float32 if logits.shape[-1] <= SMALL_VOCABULARY else torch.float64
    )
    # At temperature 1 in every row, `weights` are the probabilities already: no second softmax is needed.
    logprobs = None if is_plain else logits.log_softmax(-1)
    most_likely = None if is_plain else logits.argmax(-1, keepdim=True)

    if rows is None:
        rows = torch.arange(len(logits), device=logits.device)
    else:
        cumulative = cumulative[rows]
    total = cumulative[:, -1:]
    # The threshold stays below the total. Rounded up to it, the search would return an id behind the last
    # token with any weight.
    threshold = torch.minimum(
        (uniforms[:, None] * total).to(total.dtype), torch.nextafter(total, torch.zeros_like(total))
    )
    tokens = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    if logprobs is None:
        return tokens.tolist(), weights[rows, tokens].log().tolist()
    assert most_likely is not None
    tokens = torch.where(is_greedy[rows], most_likely[rows, 0], tokens)
    return tokens.tolist(), logprobs[rows, tokens].tolist()
