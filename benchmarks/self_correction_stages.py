"""The stages of `benchmarks.self_correction` that no command of the project has: rows that teach a policy to
answer twice, rows of its own successes, and verdicts of two attempts at the test problems.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_object
from data_gen.grading.graders import load_grader
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.tasks import DEFAULT_TASK, model_path
from data_gen.records.chats import ChainPrompts, Message, chain_prompt
from data_gen.records.draw_keys import derive_seed
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.rows.layouts import RevisionKind, RevisionRow, write_rows
from prm_train.metrics.self_correction import Pair
from prm_train.self_correction.chains import ChainDrawer, TwoAttempts

TEST_SEED, TRUNK_SEED = 90_000, 91_000
MAX_NEW_TOKENS = 160
P_REPEATED = 0.5  # of the base's second attempts in its training text repeat the first
VERDICTS = {"correct": CORRECT, "incorrect": INCORRECT, "unknown": unknown("unknown")}
Verdicts = dict[str, list[list[Pair]]]  # by temperature, of each test problem its chains


def problems(seed: int, split: str, n: int) -> list[Problem]:
    return list(islice(DEFAULT_TASK.problems(seed, split), n))


def drawer(model: Path, temperature: float, seed: int) -> ChainDrawer:
    policy = load_policy(model_path(str(model)), base_seed=seed, prefix_cache_bytes=2**28)
    return ChainDrawer(
        policy, load_grader("arithmetic", ""), SamplingParams(MAX_NEW_TOKENS, temperature), ChainPrompts()
    )


async def draw_all(source: ChainDrawer, found: Sequence[Problem], n_chains: int) -> list[list[TwoAttempts]]:
    """In parts, so that the batch is never much longer than the engine's rows."""
    parts = [found[start : start + 64] for start in range(0, len(found), 64)]
    return [group for part in parts for group in await source.draw(part, n_chains)]


def row(problem: Problem, shown: Sequence[str], answer: str) -> RevisionRow:
    kind: RevisionKind = "revision" if shown else "first_attempt"
    prompt, completion = chain_prompt(problem, shown, ChainPrompts()), (Message("assistant", answer),)
    indices = tuple(range(len(shown) + 1))
    return RevisionRow(
        problem.problem_id, prompt, completion, kind, len(shown), None, indices, problem.question
    )


def base_rows(n_problems: int, path: Path) -> None:
    """What the base learns: of each problem two draws of the shipped policy in a chain, and the second
    alone.
    """
    write_rows(path, asyncio.run(_base_rows(n_problems)))


async def _base_rows(n_problems: int) -> list[RevisionRow]:
    found = problems(TRUNK_SEED, "train", n_problems)
    policy = load_policy(model_path("base"), base_seed=TRUNK_SEED, prefix_cache_bytes=2**28)
    params, rows = SamplingParams(MAX_NEW_TOKENS), []
    for start in range(0, len(found), 64):
        part = found[start : start + 64]
        prompts = [policy.encode_prompt(each.question) for each in part]
        draws = await asyncio.gather(*(policy.sample(ids, params, i) for ids in prompts for i in range(2)))
        for number, problem in enumerate(part):
            first, other = draws[2 * number].text, draws[2 * number + 1].text
            coin = random.Random(derive_seed("base of self-correction", problem.question)).random()
            rows += [row(problem, [first], first if coin < P_REPEATED else other), row(problem, [], other)]
    return rows


def star_rows(base: Path, n_problems: int, seed: int, path: Path) -> None:
    """The base's own chains whose second attempt is right; what they cost stands beside them."""
    found = problems(seed, "train", n_problems)
    groups = asyncio.run(draw_all(drawer(base, 1.0, seed), found, 4))
    rows = [
        row(problem, [chain.first.text], chain.second.text)
        for problem, group in zip(found, groups, strict=True)
        for chain in group
        if chain.second is not None and chain.second.verdict.is_correct
    ]
    write_text(path.with_suffix(".tokens.json"), json.dumps(tokens_of(groups)) + "\n")
    write_rows(path, rows)


def tokens_of(groups: Sequence[Sequence[TwoAttempts]]) -> dict[str, int]:
    usages = [attempt.usage for group in groups for chain in group for attempt in chain.attempts]
    generated, prompts = sum(each.n_generated for each in usages), sum(each.n_prefilled for each in usages)
    return {"generated": generated, "prompts": prompts}


def test_verdicts(model: Path, n_problems: int, seed: int, path: Path) -> None:
    """Verdicts of the chains on the test problems: two a problem at temperature 1, one greedily."""
    found = problems(TEST_SEED, "test", n_problems)
    figures: dict[str, Any] = {}
    for name, temperature, n_chains in (("sampled", 1.0, 2), ("greedy", 0.0, 1)):
        groups = asyncio.run(draw_all(drawer(model, temperature, seed), found, n_chains))
        figures[name] = [[[v.kind.value for v in chain.verdicts] for chain in group] for group in groups]
        same = [c.second is not None and c.second.text == c.first.text for group in groups for c in group]
        figures[f"{name}_same"] = round(float(np.mean(same)), 4)
    write_text(path, json.dumps(figures) + "\n")


def read_verdicts(path: Path) -> Verdicts:
    stored = read_object(path)
    return {
        name: [[(VERDICTS[a], VERDICTS[b]) for a, b in group] for group in stored[name]]
        for name in ("sampled", "greedy")
    }
