"""How draws choose their next tokens from the logits of their histories."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from data_gen.policies.engine.draw import History
from data_gen.policies.engine.logit_offsets import with_offsets
from data_gen.policies.engine.truncation import truncated
from data_gen.records.sampling import Truncation

# Over this many tokens or fewer, float32 sums of probabilities are exact to about 1e-6. Larger vocabularies
# are summed in float64, block by block, and token by token in the block of a draw alone.
SMALL_VOCABULARY = 4096
BLOCK = 256
# Draws × vocabulary of one part of a choice, unless there are more logits than that.
PART_NUMBERS = 2**22


def choose_next(
    histories: Sequence[History], rows: Sequence[int], logits: Float[Tensor, "row vocabulary"]
) -> tuple[list[int], list[float]]:
    """The tokens of all draws of the first history, then of the second, …, and their log-probabilities at
    temperature 1. `rows[i]` is the row of logits of history i.

    Each draw has its own stream of noise, so the rest of the batch has no influence on its tokens. The draws
    of a history share one distribution, or a few where their temperatures, truncations or rules about ids
    differ.
    """
    draws = [draw for history in histories for draw in history.draws]
    # Rows and ways to choose are numbers here: a pair for each draw would keep the garbage collector busy.
    kinds = list(dict.fromkeys([draw.choice for draw in draws]))
    kind_of = {choice: kind for kind, choice in enumerate(kinds)}
    row_of = [row for row, history in zip(rows, histories, strict=True) for _ in history.draws]
    keys = [row * len(kinds) + kind_of[draw.choice] for row, draw in zip(row_of, draws, strict=True)]

    tokens: list[int] = []
    logprobs: list[float] = []
    n_part = max(len(logits), PART_NUMBERS // logits.shape[-1])
    for start in range(0, len(draws), n_part):
        part = slice(start, start + n_part)
        distributions = list(dict.fromkeys(keys[part]))
        places = {key: place for place, key in enumerate(distributions)}
        is_shared = len(distributions) < len(keys[part])
        numbers = [key // len(kinds) for key in distributions]
        choices = [kinds[key % len(kinds)] for key in distributions]
        # The usual case, one distribution of every row, saves a copy of the logits.
        is_all = numbers == list(range(len(logits)))
        part_tokens, part_logprobs = choose_tokens(
            logits if is_all else logits[torch.tensor(numbers, device=logits.device)],
            torch.tensor([draw.uniform() for draw in draws[part]], dtype=torch.float64),
            torch.tensor([choice.temperature for choice in choices]),
            [choice.truncation for choice in choices],
            torch.tensor([places[key] for key in keys[part]], device=logits.device) if is_shared else None,
            [choice.offsets for choice in choices],
        )
        tokens += part_tokens
        logprobs += part_logprobs
    return tokens, logprobs


def choose_tokens(
    logits: Float[Tensor, "row vocabulary"],
    uniforms: Float[Tensor, " draw"],
    temperatures: Float[Tensor, " row"],
    truncations: Sequence[Truncation] = (),
    rows: Int[Tensor, " draw"] | None = None,
    offsets: Sequence[Float[Tensor, " vocabulary"] | None] = (),
) -> tuple[list[int], list[float]]:
    """For each draw a token, by inverting the cumulative distribution of its row at the draw's uniform
    number, and its log-probability at temperature 1 without offsets.

    `rows` gives the row of each draw (None: a row each). Temperature 0 takes the most likely token.
    Probabilities are summed in the order of the ids, so that a token depends on nothing but its own row.
    `truncations` (top_p, top_k, min_p) holds one entry for each row, or none where every token may be drawn;
    `offsets` (added to the logits) likewise.
    """
    shaped = with_offsets(logits, offsets)
    tokens, logprobs = _choose(shaped, uniforms, temperatures, truncations, rows)
    if shaped is logits:
        return tokens, logprobs
    row_of = list(range(len(tokens))) if rows is None else rows.tolist()
    own = (logits[row_of, tokens] - logits.logsumexp(-1)[row_of]).tolist()
    # What has no offsets keeps the numbers that it has in any other batch.
    return tokens, [own[i] if offsets[row] is not None else logprobs[i] for i, row in enumerate(row_of)]


def _choose(
    logits: Float[Tensor, "row vocabulary"],
    uniforms: Float[Tensor, " draw"],
    temperatures: Float[Tensor, " row"],
    truncations: Sequence[Truncation],
    rows: Int[Tensor, " draw"] | None,
) -> tuple[list[int], list[float]]:
    """`choose_tokens` without offsets."""
    uniforms, temperatures = uniforms.to(logits.device), temperatures.to(logits.device)
    is_plain, is_greedy = bool((temperatures == 1).all()), temperatures == 0
    weights = (logits if is_plain else logits / temperatures.masked_fill(is_greedy, 1.0)[:, None]).softmax(-1)
    if rows is None:
        rows = torch.arange(len(logits), device=logits.device)
    inverted = _inverted if logits.shape[-1] <= SMALL_VOCABULARY else _inverted_by_blocks
    tokens = inverted(truncated(weights, truncations), uniforms, rows)
    # At temperature 1 in every row, `weights` are the probabilities already: no second softmax is needed.
    if is_plain:
        return tokens.tolist(), weights[rows, tokens].log().tolist()
    if bool(is_greedy.any()):
        tokens = torch.where(is_greedy[rows], logits.argmax(-1)[rows], tokens)
    return tokens.tolist(), logits.log_softmax(-1)[rows, tokens].tolist()


def _inverted(
    weights: Float[Tensor, "row vocabulary"], uniforms: Float[Tensor, " draw"], rows: Int[Tensor, " draw"]
) -> Int[Tensor, " draw"]:
    """For each draw the token at which the cumulative weights of its row pass `uniform` of their total."""
    cumulative = weights.cumsum(-1)[rows]
    total = cumulative[:, -1:]
    return _first_above(cumulative, (uniforms[:, None] * total).to(total.dtype))


def _inverted_by_blocks(
    weights: Float[Tensor, "row vocabulary"], uniforms: Float[Tensor, " draw"], rows: Int[Tensor, " draw"]
) -> Int[Tensor, " draw"]:
    """`_inverted` in float64: first the block of the token is found, then the token in it, so that neither
    all cumulative sums are made nor a row's copied for each of its draws.
    """
    blocks = pad(weights, (0, -weights.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    sums = blocks.sum(-1, dtype=torch.float64)[rows]  # (draw, block)
    cumulative = sums.cumsum(-1)
    threshold = uniforms[:, None] * cumulative[:, -1:]
    block = _first_above(cumulative, threshold)
    before = (cumulative - sums).gather(1, block[:, None])
    inside = blocks[rows, block].cumsum(-1, dtype=torch.float64)
    # Rounding may put it just below 0, where a first token without weight would be found.
    return block * BLOCK + _first_above(inside, (threshold - before).clamp(min=0))


def _first_above(
    cumulative: Float[Tensor, "draw number"], threshold: Float[Tensor, "draw 1"]
) -> Int[Tensor, " draw"]:
    """The first number above its threshold, which stays below the last one: rounded up to that, the search
    would return what is behind the last token with any weight.
    """
    total = cumulative[:, -1:]
    threshold = torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]
