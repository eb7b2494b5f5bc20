"""The decoding step of Llama-like networks on a GPU, as recorded launches (CUDA graphs).

A step of a small model is hundreds of short kernels, and a GPU waits for each to be launched: at 64 rows of a
model of 135 million parameters that takes far longer than the arithmetic. What lies between two attentions
works on tensors of fixed shape, so it is recorded once for each number of rows and replayed by one call.
Attention itself is launched as before (`Block.attend`): its shapes grow with the texts.

Rows are filled up to the next number of `padded_rows` with ones that nobody reads. The modules are the
model's own, so the arithmetic is, too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from data_gen.policies.engine.key_value_rows import Block

MODEL_TYPES = ("llama", "qwen2", "qwen3")
# Runs some work that reads and returns tensors at fixed places; gives what it returned, and what does it
# again.
Recorder = Callable[[Callable[[], tuple[Tensor, ...]]], tuple[tuple[Tensor, ...], Callable[[], None]]]


def has_graph_decoder(model: PreTrainedModel) -> bool:
    """Whether `GraphDecoder` may stand in for the model: on one NVIDIA GPU, and made of plain modules and
    weights.
    """
    return (
        model.config.model_type in MODEL_TYPES
        and {parameter.device.type for parameter in model.parameters()} == {"cuda"}
        and len({parameter.device for parameter in model.parameters()}) == 1
        and all(type(weight) is nn.Parameter for weight in model.model.parameters())
        and all(
            type(module) is nn.Linear
            for name, module in model.model.layers.named_modules()
            if name.endswith("_proj")
        )
    )


def padded_rows(n_rows: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, …: at most half as many again, and few recordings."""
    power = 1 << (n_rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and n_rows <= power * 3 // 4 else power


def cuda_recorder(device: torch.device) -> Recorder:
    """Recordings of one stream, which share memory between their results."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)

    def record(work: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], Callable[[], None]]:
        stream.wait_stream(torch.cuda.current_stream(device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            work()  # libraries choose their kernels and take their memory before anything is recorded
            torch.cuda.synchronize(device)
            # Other threads may go on taking and giving back memory of the GPU meanwhile.
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                results = work()
            finally:  # a stream that goes on recording would spoil all that comes after it
                graph.capture_end()
        torch.cuda.current_stream(device).wait_stream(stream)
        return results, graph.replay

    return record


class GraphDecoder:
    """Computes what the model's own step does. Memory: for each number of rows that comes up, hidden states
    and one query, key and value a row and layer; it is given back with the decoder.

    Weights may be changed in place. Where they have moved, as those of a model that was on the CPU meanwhile,
    all is recorded anew: a recording reads them where they were.
    """

    def __init__(self, model: PreTrainedModel, recorder: Recorder | None = None) -> None:
        self._model = model
        self._record = cuda_recorder(model.device) if recorder is None else recorder
        self._weights = list(model.model.parameters())
        self._places = self._where_weights_lie()
        self._steps: dict[int, _Step] = {}

    def __call__(
        self, token_ids: Int[Tensor, " row"], positions: Int[Tensor, " row"], blocks: list[Block]
    ) -> Float[Tensor, "row vocabulary"]:
        """Logits (float32) of what follows each row's new token; its keys and values are written into the
        blocks.
        """
        n_rows = len(token_ids)
        n_padded = padded_rows(n_rows)
        places = self._where_weights_lie()
        if places != self._places:
            self._steps.clear()
            self._places = places
        if n_padded not in self._steps:
            self._steps[n_padded] = _Step(self._model, n_padded, self._record)
        states = self._steps[n_padded].run(token_ids, positions, blocks)
        model: Any = self._model
        return model.lm_head(states[:n_rows]).float()

    def _where_weights_lie(self) -> list[int]:
        return [weight.data_ptr() for weight in self._weights]


class _Piece(NamedTuple):
    """A recorded part of a step: from one attention to the next. `results` hold hidden states, query, key and
    value (row, head, dim); of the last one the normed states alone.
    """

    results: tuple[Tensor, ...]
    replay: Callable[[], None]


class _Step:
    """The pieces of a step of so many rows."""

    def __init__(self, model: Any, n_rows: int, record: Recorder) -> None:
        self._inner, config = model.model, model.config
        device, dtype = model.device, model.dtype
        self._scaling: float = self._inner.layers[0].self_attn.scaling
        head_dim = self._inner.layers[0].self_attn.head_dim
        self._ids = torch.zeros(n_rows, dtype=torch.long, device=device)
        self._cos, self._sin = torch.zeros(2, n_rows, 1, head_dim, dtype=dtype, device=device)
        self._attended = torch.zeros(n_rows, config.num_attention_heads, head_dim, dtype=dtype, device=device)
        layers, self._pieces, states = list(self._inner.layers), list[_Piece](), self._attended
        for before, after in zip([None, *layers], [*layers, None], strict=True):
            piece = _Piece(*record(partial(self._between, before, states, after)))
            self._pieces.append(piece)
            states = piece.results[0]

    def run(
        self, token_ids: Int[Tensor, " row"], positions: Int[Tensor, " row"], blocks: list[Block]
    ) -> Float[Tensor, "row hidden"]:
        """The normed states that the head reads; rows behind the given ones mean nothing."""
        n_rows = len(token_ids)
        self._ids[:n_rows] = token_ids
        # Not recorded: some kinds of positions look at how far the texts have come.
        for kept, new in zip(
            (self._cos, self._sin), self._inner.rotary_emb(self._attended, positions[None]), strict=True
        ):
            kept[:n_rows] = new[0, :, None]
        for layer, piece in enumerate(self._pieces[:-1]):
            piece.replay()
            _, query, key, value = piece.results
            for block in blocks:
                self._attended[block.span] = block.attend(
                    layer, query[block.span], key[block.span], value[block.span], self._scaling
                )
        self._pieces[-1].replay()
        return self._pieces[-1].results[0]

    def _between(self, before: Any, states: Tensor, after: Any) -> tuple[Tensor, ...]:
        """What the layer `before` does behind its attention, and `after` in front of its own; `states` went
        into `before`. The first piece has no layer before, the last one none behind it.
        """
        if before is None:
            states = self._inner.embed_tokens(self._ids)
        else:
            states = states + before.self_attn.o_proj(self._attended.flatten(1))
            states = states + before.mlp(before.post_attention_layernorm(states))
        if after is None:
            return (self._inner.norm(states),)
        attention, normed = after.self_attn, after.input_layernorm(states)
        query, key, value = (
            project(normed).view(len(normed), -1, attention.head_dim)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            query, key = attention.q_norm(query), attention.k_norm(key)
        return states, self._turned(query), self._turned(key), value

    def _turned(self, states: Float[Tensor, "row head dim"]) -> Float[Tensor, "row head dim"]:
        """With the rotary position of each row."""
        first, second = states.chunk(2, dim=-1)
        return states * self._cos + torch.cat((-second, first), dim=-1) * self._sin
