"""Incremental scoring against scoring whole paths again: `python -m benchmarks.scoring` (under a minute; one
process, one thread).

Two workloads on text of the built-in task, with a PRM of the base policy's size (random weights: the cost
does not depend on them):

- best-of-N: 64 finished candidates of each problem, scored once;
- beam search: 16 paths of each problem, 4 kept after each step and extended 4 times, scored after every step.

The baseline scores what is asked for as whole paths, over all problems at once, sorted by length and batched
to the same number of tokens. It comes in two kinds: every path (what search libraries do), and equal paths
only once. Writes benchmarks/results/scoring.json.
"""

import asyncio
import json
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForTokenClassification

from data_gen.models.tokenizer import train_tokenizer
from data_gen.problems.arithmetic.rules import Chain, draw_attempt, draw_chain, draw_document, solution_text
from prm_train.encoding.paths import ScorerEncoding, prepare_encoding
from prm_train.scoring.incremental import IncrementalScorer

MAX_BATCH_TOKENS = 4096
N_REPEATS = 3
SteppedPath = tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """`rounds[i]` holds the paths that a search of this problem wants scored at once."""

    question: str
    rounds: list[list[SteppedPath]]


@dataclass(frozen=True)
class Cost:
    n_tokens: int
    wall_seconds: float
    cpu_seconds: float


def best_of_n(chain: Chain, rng: random.Random, n: int = 64) -> Workload:
    return Workload(
        chain.question(),
        [[tuple(solution_text(chain, draw_attempt(chain, rng)).split("\n")) for _ in range(n)]],
    )


def beam_search(chain: Chain, rng: random.Random, n: int = 16, width: int = 4) -> Workload:
    """Children as the pretraining text has them; which ones are kept is chance."""
    kept: list[list[int]] = [[]]  # totals of the operations so far
    rounds = []
    for n_steps in range(1, len(chain.operations) + 2):
        attempts = [draw_attempt(chain, rng, path) for path in kept for _ in range(n // len(kept))]
        rounds.append([tuple(solution_text(chain, attempt).split("\n")[:n_steps]) for attempt in attempts])
        kept = [attempt[:n_steps] for attempt in rng.sample(attempts, n // width)]
    return Workload(chain.question(), rounds)


async def score_incrementally(
    scorer: IncrementalScorer, workloads: Sequence[Workload]
) -> tuple[int, list[float]]:
    """Tokens computed, and the last score of every path in order."""

    async def one(workload: Workload) -> tuple[int, list[float]]:
        scores: list[float] = []
        async with scorer.session(workload.question) as tree:
            for paths in workload.rounds:
                nodes = []
                for path in paths:
                    node = tree.root
                    for step in path:
                        node = tree.extend(node, step)
                    nodes.append(node)
                scores += await asyncio.gather(*map(tree.score, nodes))
            return tree.usage.n_new, scores

    results = await asyncio.gather(*map(one, workloads))
    return sum(n_new for n_new, _ in results), [score for _, scores in results for score in scores]


@torch.inference_mode()
def score_whole(
    model: PreTrainedModel, encoding: ScorerEncoding, paths: Sequence[tuple[str, SteppedPath]]
) -> tuple[int, list[float]]:
    """Tokens computed (padding not counted), and the last score of every path in order."""
    heads = {question: encoding.encode_head(question) for question, _ in paths}
    steps = {step: encoding.encode_step(step) for _, path in paths for step in path}
    ids = [[*heads[question], *(token for step in path for token in steps[step])] for question, path in paths]
    order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    scores = [0.0] * len(ids)
    while order:
        width = len(ids[order[0]])
        batch, order = order[: MAX_BATCH_TOKENS // width], order[MAX_BATCH_TOKENS // width :]
        input_ids = torch.tensor([ids[i] + [0] * (width - len(ids[i])) for i in batch])
        hidden = model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        logits = model.score(hidden[range(len(batch)), [len(ids[i]) - 1 for i in batch]])
        for i, score in zip(batch, torch.sigmoid(logits[:, 1] - logits[:, 0]).tolist(), strict=True):
            scores[i] = score
    return sum(map(len, ids)), scores


def score_rounds(
    model: PreTrainedModel, encoding: ScorerEncoding, workloads: Sequence[Workload], is_distinct: bool
) -> tuple[int, list[list[float]]]:
    """All problems go on in step, so a batch is as full as it can be; gives the scores of each problem in
    order.
    """
    n_tokens = 0
    scores: list[list[float]] = [[] for _ in workloads]
    for number in range(max(len(workload.rounds) for workload in workloads)):
        wanted = [
            (workload.question, path, scored)
            for workload, scored in zip(workloads, scores, strict=True)
            if number < len(workload.rounds)
            for path in workload.rounds[number]
        ]
        paths = [(question, path) for question, path, _ in wanted]
        computed = list(dict.fromkeys(paths)) if is_distinct else paths
        n_new, new_scores = score_whole(model, encoding, computed)
        n_tokens += n_new
        if is_distinct:
            by_path = dict(zip(computed, new_scores, strict=True))
            new_scores = [by_path[path] for path in paths]
        for (_, _, scored), score in zip(wanted, new_scores, strict=True):
            scored.append(score)
    return n_tokens, scores


def measure(run: Callable[[], tuple[int, list[float]]]) -> tuple[Cost, list[float]]:
    """The quickest of a few runs, by processor time."""
    costs = []
    for _ in range(N_REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        n_tokens, scores = run()
        costs.append(
            Cost(n_tokens, round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3))
        )
    return min(costs, key=lambda cost: cost.cpu_seconds), scores


def ratios(baseline: Cost, cost: Cost) -> dict[str, float]:
    return {name: round(value / asdict(cost)[name], 2) for name, value in asdict(baseline).items()}


def compare(
    model: PreTrainedModel, encoding: ScorerEncoding, workloads: Sequence[Workload]
) -> dict[str, object]:
    def incremental() -> tuple[int, list[float]]:
        scorer = IncrementalScorer(model, encoding, scorer_id="benchmark", max_batch_tokens=MAX_BATCH_TOKENS)
        return asyncio.run(score_incrementally(scorer, workloads))

    def whole(is_distinct: bool) -> tuple[int, list[float]]:
        n_tokens, scores = score_rounds(model, encoding, workloads, is_distinct)
        return n_tokens, [score for problem_scores in scores for score in problem_scores]

    cost, scores = measure(incremental)
    every, reference = measure(lambda: whole(is_distinct=False))
    distinct, _ = measure(lambda: whole(is_distinct=True))
    return {
        "n_problems": len(workloads),
        "n_scored_paths": len(scores),
        "incremental": asdict(cost),
        "whole_paths": asdict(every),
        "distinct_whole_paths": asdict(distinct),
        "ratio": ratios(every, cost),
        "ratio_to_distinct": ratios(distinct, cost),
        "largest_score_difference": max(abs(a - b) for a, b in zip(scores, reference, strict=True)),
    }


def processor() -> str:
    """The model name of the CPU, for reading the figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = random.Random(0)
    documents = [draw_document(rng, 5, 0) for _ in range(300)]
    tokenizer = train_tokenizer(
        [text for question, attempts in documents for text in (question, *attempts)], 352, 2048
    )
    encoding = prepare_encoding(tokenizer, "\n")
    sizes = {
        "hidden_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 256,
    }
    config = Qwen2Config(
        vocab_size=len(tokenizer), max_position_embeddings=2048, num_labels=2, initializer_range=0.05, **sizes
    )
    model = Qwen2ForTokenClassification(config).eval()
    chains = [draw_chain(rng) for _ in range(16)]
    results = {
        "machine": {"processor": processor(), "n_threads": 1, "torch": torch.__version__},
        "n_parameters": model.num_parameters(),
        "best_of_64": compare(model, encoding, [best_of_n(chain, rng) for chain in chains]),
        "beam_search_16": compare(model, encoding, [beam_search(chain, rng) for chain in chains]),
    }
    path = Path(__file__).parent / "results" / "scoring.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
