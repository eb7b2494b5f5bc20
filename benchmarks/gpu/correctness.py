"""Whether a card computes what a CPU computes: the engine's draws and a scorer's scores.

- *greedy*: texts of the real model in float32 on the card (TF32 off) must be those of the CPU, token by
  token, and those of `generate` on the card. Where they part, the two best logits must lie closer than
  `NEAR_TIE`: sums are added up in another order there, so a near-tie may go either way.
- *bfloat16*: log-probs of the CPU's own texts, read by the model in bfloat16 on the card. Its numbers have 8
  bits: a logit of 20 is known to 0.06. The mean difference must stay below `BF16_LOGPROB`.
- *choice*: which token a draw takes of given logits must not depend on the device.
- *scores*: a PRM with a random head, trees of which every step is asked for: incremental on the card against
  whole texts on the CPU in float32 (`SCORE_32`), and in bfloat16 on the card incremental against whole, which
  both round (`SCORE_16`). What bfloat16 moves a score by is told, not judged: a random head makes logits of
  any size of the rounding in thirty layers (0.083 with SmolLM2-135M on an H200).
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setting import Setting
from benchmarks.sampling import Engine, Generate, Ids
from benchmarks.searching import random_prm
from benchmarks.textbook import WholeScorer
from data_gen.policies.engine.token_choice import choose_tokens
from data_gen.policies.engine.transformers_policy import TransformersPolicy, load_policy
from prm_train.kinds.load import load_classifier
from prm_train.scoring.incremental import IncrementalScorer

QUESTIONS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many "
    "clips did she sell altogether?",
    "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts is that in total?",
    "What is the capital of France?",
    "Write a line about a river.",
    "Tom has 3 boxes of 12 pencils and gives away 7. How many are left?",
    "Explain why the sky is blue in one sentence.",
    "A train goes 60 miles an hour for 2.5 hours. How far does it go?",
    "List three fruits.",
)
STEPS = ("First, 48 / 2 = 24.", "So she sold 24 clips in May.", "48 + 24 = 72 in all.", "The answer is 72.")
NEAR_TIE = 1e-3
BF16_LOGPROB, SCORE_32, SCORE_16 = 0.1, 1e-4, 0.05


def checked(name: str, got: float, at_most: float) -> dict[str, Any]:
    return {name: got, "at_most": at_most, "ok": got <= at_most}


def logits_of(policy: TransformersPolicy, ids: Ids) -> torch.Tensor:
    """(T, V), float32, on the CPU: what follows each token."""
    with torch.inference_mode():
        tokens = torch.tensor([ids], device=policy.model.device)
        return policy.model(tokens, use_cache=False).logits[0].float().cpu()


def parting_gaps(policy: TransformersPolicy, prompts: Sequence[Ids], texts: Any, others: Any) -> list[float]:
    """Of each text that parts from its other: how far apart the two tokens' logits are where it does."""
    gaps = []
    for prompt, text, other in zip(prompts, texts, others, strict=True):
        if text != other:
            at = next(i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1])
            logits = logits_of(policy, prompt + text[:at])[-1]
            gaps.append(abs(float(logits[text[at]] - logits[other[at]])))
    return gaps


def greedy(setting: Setting, n_tokens: int) -> dict[str, Any]:
    model = str(setting.model)
    on_cpu, on_card = load_policy(model), load_policy(model, device=setting.device)
    prompts = [on_cpu.encode_prompt(question) for question in QUESTIONS]
    texts = Engine(on_cpu).draw(prompts, n_tokens, 0.0, False)
    drawn = Engine(on_card).draw(prompts, n_tokens, 0.0, False)
    plain = load_policy(model, device=setting.device)
    plain.model.set_attn_implementation("sdpa")
    generated = Generate(plain.model, plain).draw(prompts, n_tokens, 0.0, False)
    found: dict[str, Any] = {"n_texts": len(texts), "n_tokens": sum(map(len, texts))}
    for name, others in (("cpu", texts), ("generate", generated)):
        gaps = parting_gaps(on_cpu, prompts, drawn, others)
        found[f"n_other_than_{name}"] = len(gaps)
        found[name] = checked("largest_gap", max(gaps, default=0.0), NEAR_TIE)

    low = load_policy(model, device=setting.device, dtype="bfloat16")
    short = Engine(low).draw(prompts, n_tokens, 0.0, False)
    differences = []
    for prompt, text in zip(prompts, texts, strict=True):
        ids, chosen = prompt + text, torch.tensor(text)[:, None]
        reads = [logits_of(policy, ids)[len(prompt) - 1 : -1].log_softmax(-1) for policy in (on_cpu, low)]
        differences.append((reads[0] - reads[1]).gather(1, chosen).abs())
    bfloat16 = checked("mean_logprob_difference", float(torch.cat(differences).mean()), BF16_LOGPROB)
    bfloat16["n_texts_equal"] = sum(a == b for a, b in zip(short, texts, strict=True))
    return {"greedy_float32": found, "bfloat16": bfloat16}


def choice(setting: Setting) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    n_rows, n_vocabulary = (8, 5000) if setting.is_small else (256, 151_936)
    logits = 4 * torch.randn(n_rows, n_vocabulary, generator=generator)
    uniforms = torch.rand(n_rows, generator=generator, dtype=torch.float64)
    temperatures = torch.full((n_rows,), 0.7)
    tokens, _ = choose_tokens(logits, uniforms, temperatures)
    others, _ = choose_tokens(logits.to(setting.device), uniforms, temperatures)
    return {"n_rows": n_rows, **checked("n_differ", sum(map(int.__ne__, tokens, others)), 0)}


def paths() -> list[tuple[str, tuple[str, ...]]]:
    """Questions with the first one to four steps, some of them in another order."""
    orders = (STEPS, STEPS[::-1], (STEPS[0], STEPS[2], STEPS[0], STEPS[3]))
    return [
        (question, steps[:n]) for question in QUESTIONS for steps in orders for n in range(1, len(steps) + 1)
    ]


def incremental_scores(prm: str, device: str, dtype: str) -> list[float]:
    model, encoding, _ = load_classifier(prm, dtype)
    scorer = IncrementalScorer(model.to(device), encoding, scorer_id="prm")

    async def run() -> list[float]:
        trees, found = {question: scorer.new_tree(question) for question in QUESTIONS}, []
        for question, steps in paths():
            node = trees[question].root
            for step in steps:
                node = trees[question].extend(node, step)
            found.append(await trees[question].score(node))
        return found

    return asyncio.run(run())


def whole_scores(prm: str, device: str, dtype: str) -> list[float]:
    model, encoding, _ = load_classifier(prm, dtype)
    return [scores[-1] for scores in WholeScorer(model.to(device), encoding).score(paths())]


def scores(setting: Setting) -> dict[str, Any]:
    prm = random_prm(str(setting.model), setting.folder / "prm")
    exact = whole_scores(prm, "cpu", "float32")

    def furthest(found: Sequence[float], wanted: Sequence[float]) -> float:
        return max(abs(a - b) for a, b in zip(found, wanted, strict=True))

    card = setting.device
    fine, coarse = (incremental_scores(prm, card, dtype) for dtype in ("float32", "bfloat16"))
    return {
        "n_scores": len(exact),
        "float32": checked("incremental_to_cpu_whole", furthest(fine, exact), SCORE_32),
        "bfloat16_to_cpu_whole": furthest(coarse, exact),
        "bfloat16_ways": checked(
            "incremental_to_whole", furthest(coarse, whole_scores(prm, card, "bfloat16")), SCORE_16
        ),
    }


def measure(setting: Setting) -> dict[str, Any]:
    torch.backends.cuda.matmul.allow_tf32 = False
    found = greedy(setting, 8 if setting.is_small else 64)
    keep(setting.folder, found)
    found["choice"] = choice(setting)
    found["scores"] = scores(setting)
    return found


def keep(folder: Path, found: dict[str, Any]) -> None:
    """What has been found so far, for a part that is killed."""
    (folder / "so_far.json").write_text(json.dumps(found, indent=1) + "\n")
