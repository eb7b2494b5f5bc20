"""Floating point operations of a model's forward pass, counted from its config and the shapes of its weights:
those of a checkpoint in a folder (from headers, no weight is read), or of a model in this process.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import read_object
from prm_train.scoring.work import Work

# Weights that some tokens pass by, or attention that is no product of queries with all keys: not counted here
OTHERWISE = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")
PLAIN_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class ForwardFlops:
    """Of a token through the layers, of a token through the output head of a language model, and of a pair of
    tokens in attention.

    `is_counted` is False where the config does not say how the model is built: then a token costs 2 for each
    parameter (Kaplan et al. 2020), embeddings included, and attention nothing.
    """

    per_token: float = 0.0
    per_output: float = 0.0
    per_pair: float = 0.0
    is_counted: bool = True

    def of(self, work: Work, n_outputs: int = 0) -> float:
        return self.per_token * work.n_tokens + self.per_output * n_outputs + self.per_pair * work.n_pairs


def read_forward_flops(folder: Path) -> ForwardFlops | None:
    """Of the checkpoint in a folder; None without one."""
    shapes = dict(_shapes(folder))
    return count_forward_flops(read_object(folder / "config.json"), shapes) if shapes else None


def read_parameter_flops(folder: Path) -> ForwardFlops | None:
    """2 for each parameter and token, embeddings included, whatever the model is; None without a
    checkpoint.
    """
    shapes = dict(_shapes(folder))
    return ForwardFlops(2.0 * sum(map(prod, shapes.values())), is_counted=False) if shapes else None


def own_model(user: object) -> Any | None:
    """The transformers model that a policy or scorer runs in this process, as its `model`. Of an implicit PRM
    it is the trained one: its usage counts the tokens of the reference, too, as if it were built alike. None
    where there is none, as behind servers, or there are several, as in an ensemble.
    """
    model = getattr(user, "model", None)  # a server's is a name
    return model if hasattr(model, "named_parameters") else None


def model_flops(user: object) -> ForwardFlops | None:
    """Of a token of the model that a policy or scorer runs, as far as known."""
    model = own_model(user)
    if model is None:
        return None
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    return count_forward_flops(config, {name: list(each.shape) for name, each in model.named_parameters()})


def known_flops(policy: object, scorer: object | None) -> dict[str, ForwardFlops]:
    """Of both, by these names, as far as known."""
    found = {"policy": model_flops(policy), "scorer": model_flops(scorer)}
    return {name: flops for name, flops in found.items() if flops is not None}


def count_forward_flops(config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> ForwardFlops:
    """Of a model with this config and these weights.

    A multiplication with a weight and the addition of the product are 2, so a token costs 2 for each weight
    of the matrices of the layers, and 2 x vocabulary x width in the output head, whose matrix may be that of
    the input embedding (which itself looks up, and multiplies nothing). In a layer, attention takes the
    product of a query with a key and adds up values: in each head 2 x 2 x its width for each pair of a token
    with itself or one before it. So the token at position p = 1, 2, … costs::

        2 x weights + 2 x vocabulary x width + 4 x layers x heads x head width x p

    Not counted: norms, biases, rotations, activations, the softmax. Sliding windows are counted as if they
    were open.
    """
    layers, heads, width, vocabulary = (
        config.get(name) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")
    )
    if not (layers and heads and width and vocabulary) or _is_built_otherwise(config):
        return ForwardFlops(2.0 * sum(map(prod, shapes.values())), is_counted=False)
    weights = sum(
        prod(shape)
        for name, shape in shapes.items()
        if len(shape) > 1 and shape[0] != vocabulary and "position" not in name
    )
    is_language_model = str(config.get("architectures")).endswith("LM']")
    return ForwardFlops(
        per_token=2.0 * weights,
        per_output=2.0 * vocabulary * width if is_language_model else 0.0,
        per_pair=4.0 * layers * heads * (config.get("head_dim") or width // heads),
    )


def _is_built_otherwise(config: Mapping[str, Any]) -> bool:
    return any(config.get(name) for name in OTHERWISE) or bool(
        set(config.get("layer_types") or ()) - PLAIN_LAYERS
    )


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Of each tensor of a checkpoint, from the headers of its safetensors files."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                yield name, tensor["shape"]
