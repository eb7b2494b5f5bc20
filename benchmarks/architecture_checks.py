"""What `benchmarks.architectures` compares: scores in search, draws and packed rows with what transformers
computes of whole texts.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from data_gen.models.forward_settings import short_length
from data_gen.models.pretrained import load_model
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.records.chats import Message
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.rows.layouts import PrmRow, read_rows
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import prm_examples
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.load import load_checkpoint, load_classifier, load_scorer
from prm_train.kinds.paths import ScoredPath
from prm_train.scoring.protocol import Scorer

QUESTION = "Start with 3: plus 4, times 2."
PATHS = (
    ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4"),
    ("3 plus 4 = 7", "7 times 2 = 15"),
    ("3 plus 4 = 8" + " and more" * 4, "Answer: 8 6"),
    ("a",),
    ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4" + " and on" * 6, "x"),
)
PROMPTS = (QUESTION, "Start with 5: minus 2.", "Hello", " ".join([QUESTION] * 2))
TOLERANCE = 1e-4  # of a score
LOGPROB_TOLERANCE = 1e-3
N_DRAWN = 50  # tokens


def search_difference(folder: Path) -> float:
    """The largest difference of a score in a search, steps asked for one by one and all together, from that
    of the path alone.
    """
    plain, scorer = load_checkpoint(str(folder)), load_scorer(str(folder))
    wanted: dict[tuple[str, ...], float] = {}
    for steps in PATHS:
        for n_steps in range(1, len(steps) + 1):
            logits = plain.logits(ScoredPath((Message("user", QUESTION),), steps[:n_steps]))
            wanted[steps[:n_steps]] = float(
                torch.sigmoid(torch.tensor(plain.kind.scorer_logits(plain.facts, logits)))[-1]
            )
    found = [asyncio.run(_search(scorer, is_together)) for is_together in (False, True)]
    return max(abs(scores[steps] - wanted[steps]) for scores in found for steps in scores)


async def _search(scorer: Scorer, is_together: bool) -> dict[tuple[str, ...], float]:
    nodes = {}
    async with scorer.session(QUESTION) as tree:
        for steps in PATHS:
            node = tree.root
            for n_steps, step in enumerate(steps, 1):
                node = nodes[steps[:n_steps]] = tree.extend(node, step)
                if not is_together and (scorer.scores_steps or n_steps == len(steps)):
                    await tree.score(node)
        if is_together:
            await tree.score(nodes[PATHS[0][:2]])  # so that the paths differ in what is known of them
        scored = nodes if scorer.scores_steps else {steps: nodes[steps] for steps in PATHS}
        return dict(
            zip(scored, await asyncio.gather(*(tree.score(node) for node in scored.values())), strict=True)
        )


def engine_difference(folder: Path) -> float:
    """The largest difference of a log-prob. Raises ValueError where a greedy draw is not what `generate`
    writes.

    (LongRoPE: generate without a cache, since with one it reads nothing but the last token where it changes
    its positions.)
    """
    policy = load_policy(str(folder))
    model = load_model(AutoModelForCausalLM, str(folder)).eval()
    has_border = short_length(model.config) is not None
    prefixes = [policy.encode_prompt(text) for text in PROMPTS]

    async def drawn() -> list[Completion]:
        return list(
            await asyncio.gather(
                *(policy.sample(prefix, SamplingParams(N_DRAWN, 0), 0) for prefix in prefixes)
            )
        )

    worst = 0.0
    for prefix, completion in zip(prefixes, asyncio.run(drawn()), strict=True):
        generated = model.generate(
            torch.tensor([prefix]),
            max_new_tokens=N_DRAWN,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=list(policy.eos_ids),
            use_cache=not has_border,
        )[0, len(prefix) :].tolist()
        if tuple(generated) != completion.token_ids:
            raise ValueError(
                f"a draw behind {len(prefix)} tokens is {completion.token_ids[:8]}…, expected "
                f"{generated[:8]}…"
            )
        ids = (*prefix, *completion.token_ids)
        ends = range(len(prefix), len(ids)) if has_border else [len(ids) - 1]
        with torch.inference_mode():
            logits = torch.cat(
                [model(torch.tensor([ids[:end]]), use_cache=False).logits[0, -1:] for end in ends]
            )
            if not has_border:
                logits = model(torch.tensor([ids[:-1]]), use_cache=False).logits[0, len(prefix) - 1 :]
        logprobs = logits.float().log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        worst = max(worst, (logprobs - torch.tensor(completion.logprobs)).abs().max().item())
    return worst


def packing_difference(folder: Path, rows: Path) -> float:
    """The largest difference of a logit of a PRM, rows packed against each alone, without dropout."""
    model, encoding, _ = load_classifier(str(folder))
    examples = prm_examples(read_rows(rows, PrmRow), encoding, LabelAlgebra(), 200).examples[:4]

    def logits(groups: Sequence[Sequence], is_packed: bool) -> torch.Tensor:
        collator, found = Collator("prm", 0, Batching(len(examples), None, is_packed)), []
        for group in groups:
            (batch,) = collator(group)["batches"]
            inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
            with torch.inference_mode():
                found.append(model(**inputs, use_cache=False).logits[batch["labels"] != -100])
        return torch.cat(found)

    return (logits([examples], True) - logits([[example] for example in examples], False)).abs().max().item()
