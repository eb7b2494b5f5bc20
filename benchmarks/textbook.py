"""Beam search as the papers' code writes it, for `benchmarks.searching` to measure against: one problem at a
time, `model.generate` for all paths of a round in one batch, then the whole text of every path through the
PRM, then the best N / M stay.

The rule of selection is that of `prm_train/strategies/beam.py`: paths that end leave the beam, the best of
the distinct open ones by the lowest score of their steps stay, and N next steps are divided between them. The
noise is torch's, so trees are alike in size, not equal.

Where there was a choice it is the quicker one: the end of a step is a second EOS to `generate`, not a stop
string; the ids of each distinct step are made once; whole texts are sorted by length and go through the PRM
in batches of `MAX_BATCH_TOKENS` (more on a card); the head reads the ends of steps alone.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.sampling import MAX_SOLUTION_TOKENS, MAX_STEP_TOKENS, Generate, Ids
from data_gen.policies.engine.transformers_policy import load_policy
from prm_train.encoding.paths import ScorerEncoding
from prm_train.kinds.load import load_classifier

MAX_BATCH_TOKENS = 4096
MAX_STEPS = 40
WIDTH = 4
SEPARATOR = "\n"


@dataclass
class Work:
    """What a search did: steps drawn, tokens of them, and tokens of the PRM, padding not counted."""

    n_steps: int = 0
    n_generated: int = 0
    n_prm: int = 0


@dataclass(frozen=True)
class Cost:
    wall_seconds: float
    cpu_seconds: float
    work: Work


def timed(run: Callable[[], Work]) -> Cost:
    """What was left behind before is collected before the clocks start."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work = run()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, work)


def rounded(costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        name: {
            "wall_seconds": round(cost.wall_seconds, 2),
            "cpu_seconds": round(cost.cpu_seconds, 2),
            **asdict(cost.work),
        }
        for name, cost in costs.items()
    }


class WholeScorer:
    """The scores of all steps of whole texts: a token classifier of two classes, p(good) at the end of each
    step.
    """

    def __init__(
        self, model: PreTrainedModel, encoding: ScorerEncoding, max_batch_tokens: int = MAX_BATCH_TOKENS
    ) -> None:
        self.model, self.n_tokens, self.max_batch_tokens = model.eval(), 0, max_batch_tokens
        self.encode_head = lru_cache(maxsize=2**14)(encoding.encode_head)
        self.encode_step = lru_cache(maxsize=2**14)(encoding.encode_step)

    @torch.inference_mode()
    def score(self, paths: Sequence[tuple[str, tuple[str, ...]]]) -> list[list[float]]:
        """Of (question, steps), each with a step or more."""
        encoded = [self._encode(question, steps) for question, steps in paths]
        order = sorted(range(len(paths)), key=lambda i: -len(encoded[i][0]))
        scores: list[list[float]] = [[] for _ in paths]
        while order:
            width = len(encoded[order[0]][0])
            n_rows = max(1, self.max_batch_tokens // width)
            batch, order = order[:n_rows], order[n_rows:]
            ids = torch.tensor(
                [encoded[i][0] + [0] * (width - len(encoded[i][0])) for i in batch], device=self.model.device
            )
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            rows = [row for row, i in enumerate(batch) for _ in encoded[i][1]]
            ends = [end for i in batch for end in encoded[i][1]]
            logits = self.model.score(hidden[rows, ends])
            values = iter(torch.sigmoid(logits[:, 1] - logits[:, 0]).tolist())
            for i in batch:
                scores[i] = [next(values) for _ in encoded[i][1]]
        self.n_tokens += sum(len(ids) for ids, _ in encoded)
        return scores

    def _encode(self, question: str, steps: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """Ids, and where each step ends."""
        ids, ends = list(self.encode_head(question)), []
        for step in steps:
            ids += self.encode_step(step)
            ends.append(len(ids) - 1)
        return ids, ends


@dataclass(frozen=True)
class Beam:
    """A path: the policy's ids behind the prompt, its steps as text, and their scores."""

    ids: Ids = ()
    steps: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    is_open: bool = field(default=True, compare=False)


class Textbook:
    """Policy and PRM, loaded as users of transformers load them."""

    def __init__(
        self,
        policy: str,
        prm: str | Path,
        device: str = "cpu",
        dtype: str = "float32",
        max_batch_tokens: int = MAX_BATCH_TOKENS,
    ) -> None:
        self.policy = load_policy(policy)  # for the layout of the prompt and the ids of EOS
        self.tokenizer = self.policy.tokenizer
        writer = AutoModelForCausalLM.from_pretrained(policy, dtype=dtype).to(device)
        self.generate = Generate(writer, self.policy)
        classifier = load_classifier(str(prm), dtype)
        self.scorer = WholeScorer(classifier.model.to(device), classifier.encoding, max_batch_tokens)
        self.work = Work()

    def search(self, question: str, n: int) -> list[Beam]:
        """The paths that ended, then those that are open after `MAX_STEPS`."""
        prompt = self.encode_prompt(question)
        kept, ended, n_draws = [Beam()], list[Beam](), n
        for _ in range(MAX_STEPS):
            parents = [kept[i % len(kept)] for i in range(n_draws)]
            children = self.scored(question, self.next_steps(prompt, parents))
            ended += [child for child in children if not child.is_open]
            opened = [child for child in children if child.is_open]
            n_draws = min(n, WIDTH * len(opened))
            distinct = list({child.steps: child for child in opened}.values())
            kept = sorted(distinct, key=lambda child: -min(child.scores))[: -(-n_draws // WIDTH)]
            if not kept:
                break
        return ended + kept

    def encode_prompt(self, question: str) -> Ids:
        return self.policy.encode_prompt(question)

    def next_steps(self, prompt: Ids, parents: Sequence[Beam]) -> list[Beam]:
        """A child of each parent, not scored yet."""
        prefixes = [prompt + parent.ids for parent in parents]
        steps = self.generate.draw(prefixes, MAX_STEP_TOKENS, 1.0, is_step=True)
        self.work.n_steps += len(steps)
        self.work.n_generated += sum(map(len, steps))
        return [self.child(parent, step) for parent, step in zip(parents, steps, strict=True)]

    def child(self, parent: Beam, step: Ids) -> Beam:
        text = self.tokenizer.decode(step, skip_special_tokens=True).removesuffix(SEPARATOR)
        ids = parent.ids + step
        is_open = step[-1] == self.generate.newline and len(ids) < MAX_SOLUTION_TOKENS
        return Beam(ids, (*parent.steps, text) if text.strip() else parent.steps, parent.scores, is_open)

    def scored(self, question: str, children: Sequence[Beam]) -> list[Beam]:
        """Every path's whole text, as search libraries score it; one without a step cannot be ranked."""
        before, paths = self.scorer.n_tokens, [child for child in children if child.steps]
        scores = self.scorer.score([(question, child.steps) for child in paths])
        self.work.n_prm += self.scorer.n_tokens - before
        return [
            Beam(child.ids, child.steps, tuple(values), child.is_open)
            for child, values in zip(paths, scores, strict=True)
        ]
