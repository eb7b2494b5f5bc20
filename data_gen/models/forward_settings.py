"""What a model's config says of how its forward pass must be made, so that nobody makes another one than the
model's own.
"""

from typing import Any

from data_gen.settings.errors import InputError

UNBOUNDED = 2**20  # tokens, of models without a bound (state-space models)
CONTEXT_NAMES = ("max_position_embeddings", "max_seq_len", "seq_length")
WINDOW_NAMES = (
    "sliding_window",
    "window_size",
    "attention_window_size",
    "attention_chunk_size",
    "keep_window_size",
)
# Tokens of a text on which a forward pass of ours is compared with the model's own, or as many as leave the
# model's window:
N_CHECKED = 16
MAX_CHECKED = 1024


def context_length(model_config: Any) -> int:
    """The most tokens that the model reads at once; `UNBOUNDED` where its config names no number."""
    config = model_config.get_text_config()
    lengths = (getattr(config, name, None) for name in CONTEXT_NAMES)
    return next((int(length) for length in lengths if length), UNBOUNDED)


def short_length(model_config: Any) -> int | None:
    """Of LongRoPE (Phi-3-128k, Phi-4-mini): the tokens up to which positions are rotated by the short
    factors; None of other models.

    A forward pass takes the long factors for all its rows as soon as one position, padding included, lies
    beyond. So keys and values from before are no use there, and rows of both kinds must not share a pass.
    """
    config = model_config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    for settings in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if settings.get("rope_type") == "longrope":
            border = (
                settings.get("original_max_position_embeddings") or config.original_max_position_embeddings
            )
            return int(border) if border < context_length(model_config) else None
    return None


def soft_cap(model_config: Any) -> float | None:
    """The bound that attention scores are squeezed into (Gemma 2: 50); torch's own attention (sdpa) leaves it
    out without a word.
    """
    cap: float | None = getattr(model_config.get_text_config(), "attn_logit_softcapping", None)
    return cap


def attention_settings(model_config: Any) -> dict[str, str]:
    """The `attn_implementation` to load a model with for whoever has no wish of their own: transformers'
    choice, unless that is wrong.

    Raises InputError for a config by which transformers' attention fails as soon as it is given a mask.
    """
    config = model_config.get_text_config()
    heads, key_heads = (
        getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads")
    )
    if getattr(config, "kv_lora_rank", None) is not None and key_heads != heads:
        raise InputError(
            f"model {model_config.name_or_path}: its config.json says num_key_value_heads {key_heads}; "
            f"expected {heads}, the number of its "
            "attention heads, since latent attention has keys for each of them (its weights are the same)"
        )
    return {} if soft_cap(model_config) is None else {"attn_implementation": "eager"}


def n_checked_tokens(model_config: Any) -> int:
    """Of a text on which a forward pass of ours is to be compared with the model's own: beyond its windows,
    where these are small.
    """
    config = model_config.get_text_config()
    windows = [getattr(config, name, None) for name in WINDOW_NAMES]
    lengths = [
        window + N_CHECKED
        for window in windows
        if isinstance(window, int) and window + N_CHECKED <= MAX_CHECKED
    ]
    return min(
        max([N_CHECKED, *lengths]), context_length(model_config), short_length(model_config) or UNBOUNDED
    )
