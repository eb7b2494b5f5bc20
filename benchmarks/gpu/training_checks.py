"""Whether a card trains what a CPU trains: losses and gradients of a PRM over a few rows of random ids, of a
tiny network and of the real model, and one short training around a base in 4 bits.

- *float32*: the card (TF32 off) against the CPU. Both round to 24 bits and add up in another order, which
  moves a sum of some thousand terms by about 1e-6 of its size; layers pass that on and add to it. Allowed are
  1e-4 of the loss and 1e-3 of the gradient's norm, and a gradient that points the same way to 1e-5 (1 minus
  the cosine). TF32's 11 bits would miss the last by far.
- *autocast*: bfloat16 autocast against float32 on the card. Each number has 8 bits, so each is off by up to
  1/512, and what comes through thirty layers by some percent: the loss of a new head, near log 2, may move by
  0.02 of itself, and the gradient may turn by 0.03 (1 minus the cosine).
- *packed*: packed rows (on a card by torch's kernel for rows of varying length) against the same rows
  padded, both under autocast. Each rounds by itself, so their gradients may part twice as far as the padded
  one's parts from float32 (1 minus the cosine goes with the square: four times). A control reads all rows
  as one, as a kernel would that is told no bounds: it must part further, or the check could not see that
  fault.
- *qlora*: `train-prm` with quantization nf4. Its loss must be a number, the saved checkpoint have other
  weights than the base and score as the trained model with its base made whole again (the training itself
  compares them and fails otherwise), and a scorer must load it. How far 4 bits move the first loss is told,
  not judged: a new head reads states of any size (2.15 in bfloat16 and 0.77 in 4 bits with SmolLM2-135M on an
  H200).
"""

import copy
import json
import math
import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, set_seed

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training_runs import shape
from data_gen.rows.layouts import PrmRow, write_rows
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.examples.unlabeled import UNLABELED
from prm_train.kinds.load import load_scorer
from prm_train.networks.heads import head_name
from prm_train.networks.packed_attention import use_packed_attention
from prm_train.training.config import TrainPrmConfig
from prm_train.training.losses import binary_cross_entropy, step_logits
from prm_train.training.scorer_network import Float32Head
from prm_train.training.scorer_training import PrmTraining, run_training
from prm_train.training.settings import LoraSettings

LENGTHS = (37, 52, 64, 90, 91, 150)
LOSS_32, NORM_32, TURN_32 = 1e-4, 1e-3, 1e-5
LOSS_16, TURN_16 = 0.02, 0.03


def examples(vocabulary: int) -> list[Example]:
    """Rows sorted by length, as a trainer's collator gets them, with a label every tenth token."""
    rng, made = random.Random(0), []
    for n_tokens in LENGTHS:
        positions = tuple(range(9, n_tokens, 10))
        targets = tuple(float(rng.random() < 0.6) for _ in positions)
        ids = tuple(rng.randrange(5, vocabulary) for _ in range(n_tokens))
        made.append(Example("q", ids, positions, targets, (1.0,) * len(positions)))
    return made


def prm(name: str, setting: Setting) -> Any:
    """A float32 network on the CPU with the head that is trained; *tiny* is random, with grouped heads of
    size 16.
    """
    set_seed(0)
    if name == "real":
        config = shape("real", setting)
        model = AutoModelForTokenClassification.from_pretrained(
            setting.model, config=config, dtype=torch.float32
        )
    else:
        small = Setting(**{**vars(setting), "is_small": True})
        model = AutoModelForTokenClassification.from_config(shape("random", small), dtype=torch.float32)
    head = head_name(model)
    setattr(model, head, Float32Head(getattr(model, head), 0.0))
    return model.train()


def gradient(model: Any, batches: Sequence[dict[str, Tensor]], is_autocast: bool) -> tuple[float, Tensor]:
    """Loss of the optimizer step that these passes make up, and its gradient (P,) in float64 on the CPU."""
    device = next(model.parameters()).device
    model.zero_grad()
    n_labeled = sum(int((batch["labels"] != UNLABELED).sum()) for batch in batches)
    total = 0.0
    for each in batches:
        batch = {name: tensor.to(device) for name, tensor in each.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=is_autocast):
            inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
            logits, is_labeled = step_logits(model(**inputs).logits), batch["labels"] != UNLABELED
            targets, weights = batch["labels"][is_labeled], batch["weights"][is_labeled]
            loss = binary_cross_entropy(logits[is_labeled].float(), targets, weights, n_labeled)
        loss.backward()
        total += loss.item()
    parts = [p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None]
    return total, torch.cat(parts)


def apart(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> dict[str, float]:
    """How far a loss and a gradient are from the `other` ones."""
    (loss, slope), (wanted, wanted_slope) = one, other
    norm, wanted_norm = slope.norm().item(), wanted_slope.norm().item()
    return {
        "loss": loss,
        "wanted_loss": wanted,
        "loss_difference": abs(loss / wanted - 1),
        "norm_difference": abs(norm / wanted_norm - 1),
        "turn": 1 - (slope @ wanted_slope).item() / (norm * wanted_norm),
    }


def one_row(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A packed pass without its bounds."""
    return batch | {"position_ids": torch.arange(batch["input_ids"].shape[1])[None]}


def gradients(name: str, setting: Setting) -> dict[str, Any]:
    """The first three checks of one network."""
    torch.backends.cuda.matmul.allow_tf32 = False
    on_cpu = prm(name, setting)
    rows = examples(on_cpu.config.vocab_size)
    padded, packed = (
        Collator("prm", 0, Batching(3, None, is_packed))(rows)["batches"] for is_packed in (False, True)
    )
    cpu = gradient(on_cpu, padded, is_autocast=False)
    model = copy.deepcopy(on_cpu).to(setting.device)
    single, half = gradient(model, padded, is_autocast=False), gradient(model, padded, is_autocast=True)
    use_packed_attention(model, torch.device(setting.device))
    in_rows = gradient(model, packed, is_autocast=True)
    control = gradient(model, [one_row(batch) for batch in packed], is_autocast=True)

    float32, autocast, found = apart(single, cpu), apart(half, single), apart(in_rows, half)
    found |= {"turn_of_padded": autocast["turn"], "control_turn": apart(control, half)["turn"]}
    within_32 = (LOSS_32, NORM_32, TURN_32)
    got_32 = (float32["loss_difference"], float32["norm_difference"], float32["turn"])
    return {
        "float32": {**float32, "ok": all(got <= most for got, most in zip(got_32, within_32, strict=True))},
        "autocast": {
            **autocast,
            "ok": autocast["loss_difference"] <= LOSS_16 and autocast["turn"] <= TURN_16,
        },
        "packed": {
            **found,
            "attention": model.config._attn_implementation,
            "ok": found["loss_difference"] <= LOSS_16
            and found["turn"] <= 4 * found["turn_of_padded"] < found["control_turn"],
        },
    }


# --- a base in 4 bits


def word_rows(n_rows: int = 24) -> list[PrmRow]:
    rng, made = random.Random(0), []
    for number in range(n_rows):
        a, b, error = rng.randrange(2, 50), rng.randrange(2, 50), rng.choice((0, 0, 1))
        steps = (f"{a} plus {b} = {a + b + error}", f"Answer: {a + b + error}")
        labels = (not error, not error)
        evidence = ((0, 0), (0, 0), (0, 0), ("fixed",) * 2, ("none",) * 2)
        made.append(PrmRow(f"p{number}", f"Start with {a}: plus {b}.", steps, labels, *evidence))
    return made


def first_loss_and_folder(quantization: str, setting: Setting) -> tuple[float, dict[str, Any], Path]:
    """A training of three optimizer steps: its first loss, the parity that it reports, its checkpoint."""
    folder = setting.folder / f"lora-{quantization}"
    rows = word_rows()
    config = TrainPrmConfig(
        rows=setting.folder / f"lora-{quantization}-rows.jsonl",
        output=folder,
        model=str(setting.model),
        quantization=quantization,  # type: ignore[arg-type]
        lora=LoraSettings(rank=8),
        dtype="bfloat16",
        batch_size=8,
        learning_rate=1e-3,
        warmup_share=0.0,
        validation_share=0.0,
        n_steps_between_logs=1,
        resume=False,
        use_cpu=not setting.is_cuda,
    )
    write_rows(config.rows, rows)
    run_training(PrmTraining(rows, config))
    report = json.loads((folder / "training" / "report.json").read_text())
    return report["loss_curve"][0]["loss"], report["parity"], folder


def share_of_changed_weights(folder: Path, base: Path) -> float:
    """Of the first layer's query projection, which takes a low-rank update."""
    name = "layers.0.self_attn.q_proj.weight"
    found = []
    for path in (folder, base):
        config = {} if path == base else {"dtype": torch.bfloat16}
        model = AutoModelForTokenClassification.from_pretrained(path, **config)
        found.append(next(p for key, p in model.named_parameters() if key.endswith(name)).bfloat16())
    return (found[0] != found[1]).float().mean().item()


def qlora(setting: Setting) -> dict[str, Any] | str:
    if find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed"
    wanted, _, _ = first_loss_and_folder("none", setting)
    loss, parity, folder = first_loss_and_folder("nf4", setting)
    changed = share_of_changed_weights(folder, setting.model)
    load_scorer(str(folder), dtype="bfloat16")
    return {
        "first_loss": loss,
        "first_loss_of_bfloat16": wanted,
        "share_of_weights_changed": changed,
        "parity": parity,
        "ok": math.isfinite(loss) and changed > 0,
    }
