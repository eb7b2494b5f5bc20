"""Are the weights of a loaded model those of its folder? transformers fills what is missing with random
numbers and drops what is too much.

What may differ is known beforehand: a new head on a language model, the language model's own head that a
scorer has no use for, and what belongs to other uses of a checkpoint (value heads, heads that predict several
tokens at once). All else is refused before it is used.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)

LANGUAGE_HEADS = {"lm_head", "embed_out", "output_layer"}
SCORER_HEADS = ("score.", "classifier.")
# Of a value function (TRL's PPO), and of layers that predict the tokens after the next one: the model is
# whole without them.
OTHER_USES = {"v_head", "mtp"}
OTHER_TOWERS = re.compile(r"vision|visual|image|audio|multi_modal|mm_projector")
N_SHOWN = 3

# What wraps a model while it is trained shows in the names of its weights if the wrapped one was saved.
WRAPPERS = {
    "_orig_mod.": "saved as torch.compile wraps it",
    "_fsdp_wrapped_module.": "saved as FSDP wraps it",
    "_checkpoint_wrapped_module.": "saved as activation checkpointing wraps it",
    "base_model.model.": "a PEFT model saved without merging its adapter (merge_and_unload)",
    "lora_A.": "a PEFT model saved without merging its adapter (merge_and_unload)",
    ".base_layer.": "a PEFT model saved without merging its adapter (merge_and_unload)",
    "pretrained_model.": "saved as TRL's model with a value head wraps it",
}
STARTS = {
    "module.": "saved as DistributedDataParallel wraps it",
    "_forward_module.": "saved as Lightning wraps it",
}


def check_weights(
    model: Any, found: Mapping[str, Collection[Any]], path: str, new_head: bool = False
) -> None:
    """Compare `found`, the loading info of `from_pretrained`, with what is meant. With `new_head` the head
    (what is no part of the backbone) may be missing as a whole. Raises InputError naming how many weights
    differ, the first of them and the likely reason, and where weights are not finite.
    """
    missing, mismatched = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    head = _head(model)
    if new_head and head <= set(missing):
        missing = sorted(set(missing) - head)
    unexpected = sorted(name for name in found["unexpected_keys"] if not _is_of_no_use(name, model))
    faults = [
        *([f"{len(missing)} missing ({_first(missing)})"] if missing else []),
        *([f"{len(unexpected)} not of that network ({_first(unexpected)})"] if unexpected else []),
        *([f"{len(mismatched)} of another shape ({_first(map(_shapes, mismatched))})"] if mismatched else []),
    ]
    if faults:
        wrong = [*missing, *(name for name, *_ in mismatched)]
        reason = _reason(model, wrong, unexpected, head, new_head)
        raise InputError(
            f"model {path}: its weights are not those of a {type(model).__name__}: {', '.join(faults)}; "
            f"{reason}"
        )
    left = sorted(name for name in found["unexpected_keys"] if _parts(name) & OTHER_USES)
    if left:
        logger.info("model %s: left out, for other uses: %s", path, _first(left))
    check_finite(model, path)


def check_finite(model: Any, path: str) -> None:
    """Raises InputError where a weight is NaN or infinite."""
    broken = [name for name, parameter in model.named_parameters() if not _is_finite(parameter)]
    if broken:
        raise InputError(
            f"model {path}: {len(broken)} of its weights hold NaN or infinite numbers ({_first(broken)}); "
            "expected numbers"
        )


def _head(model: Any) -> set[str]:
    """The weights that are no part of the backbone; those of a module `score` or `classifier` where the model
    names no backbone.
    """
    prefix = model.base_model_prefix
    if prefix and hasattr(model, prefix):
        return {name for name in model.state_dict() if not name.startswith(f"{prefix}.")}
    return {name for name in model.state_dict() if name.startswith(SCORER_HEADS)}


def _is_finite(parameter: Any) -> bool:
    weight = getattr(parameter, "ds_tensor", parameter)  # under ZeRO stage 3 a process holds its part alone
    # Packed into 8 bits or fewer
    if weight.numel() == 0 or not weight.is_floating_point() or weight.element_size() == 1:
        return True
    low, high = weight.detach().aminmax()  # NaN if there is one; unlike isfinite it allocates nothing
    return bool(low.isfinite() and high.isfinite())


def _is_of_no_use(name: str, model: Any) -> bool:
    """Whether a weight that the network lacks is known to change nothing of what it computes."""
    parts = _parts(name)
    is_language_model = model.get_output_embeddings() is not None
    has_towers = model.config.get_text_config() is not model.config
    return (
        bool(parts & OTHER_USES)
        or (not is_language_model and bool(parts & LANGUAGE_HEADS))
        # The text part of a model that also sees or hears
        or (not has_towers and OTHER_TOWERS.search(name) is not None)
    )


def _reason(model: Any, wrong: list[str], unexpected: list[str], head: set[str], new_head: bool) -> str:
    for mark, reason in WRAPPERS.items():
        if any(mark in name for name in unexpected):
            return f"likely {reason}; expected names without {mark!r}"
    for mark, reason in STARTS.items():
        if any(name.startswith(mark) for name in unexpected):
            return f"likely {reason}; expected names without {mark!r}"
    n_layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    beyond = _layers(unexpected) - set(range(n_layers or 0))
    if n_layers and beyond:
        return (
            f"its config.json says num_hidden_layers {n_layers}, its weights have layer {max(beyond)}; "
            "expected their own config.json"
        )
    said = model.config.architectures or []
    if type(model).__name__ not in said and any(name in head for name in wrong):
        expected = "a language model, or a model of the same kind" if new_head else "weights of that network"
        return f"its config.json says {', '.join(said) or 'nothing'}; expected {expected}"
    if any(name.startswith(SCORER_HEADS) for name in unexpected):
        return "it has the head of a scorer; expected a language model"
    if wrong and all(_parts(name) & LANGUAGE_HEADS for name in wrong):
        return (
            "expected them, or tie_word_embeddings true in its config.json if the embeddings are its "
            "head, too"
        )
    lost = _layers(wrong)
    if lost and min(lost) > 0 and lost == set(range(min(lost), n_layers or 0)):
        return (
            f"its config.json says num_hidden_layers {n_layers}; expected as many layers as there are weights"
        )
    return "expected the weights that its config.json describes"


def _layers(names: Iterable[str]) -> set[int]:
    """Numbers of the layers that the names speak of."""
    return {int(number) for name in names for number in re.findall(r"(?:layers|h|blocks)\.(\d+)\.", name)}


def _parts(name: str) -> set[str]:
    return set(name.split("."))


def _shapes(mismatch: tuple[str, Iterable[int], Iterable[int]]) -> str:
    name, saved, expected = mismatch
    return f"{name} {tuple(saved)}, expected {tuple(expected)}"


def _first(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:N_SHOWN]) + (", …" if len(shown) > N_SHOWN else "")
