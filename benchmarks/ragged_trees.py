"""Trees of 10 to 40 ragged steps, scored as they grow: the tokens that a PRM computes for them, and whether
the scores are those of whole texts. Part of `python -m benchmarks.searching`.
"""

import asyncio
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

from benchmarks.textbook import MAX_BATCH_TOKENS, SEPARATOR, WIDTH, WholeScorer
from data_gen.problems.arithmetic import rules
from data_gen.process.side_by_side import side_by_side
from data_gen.records.solutions import Problem
from prm_train.kinds.load import load_classifier
from prm_train.scoring.incremental import IncrementalScorer

SteppedPath = tuple[str, ...]


def draw_problems(round_: int, n: int) -> list[Problem]:
    """Other ones in each round."""
    return list(islice(rules.draw_problems(round_, "validation"), n))


def ragged_tree(rng: random.Random, n: int = 8) -> list[list[SteppedPath]]:
    """Rounds of paths of one problem: `n` children of the kept ones, each of which ends after 10 to 40 steps.
    A step is one or two lines of an attempt behind a number; which ones are kept is chance.
    """
    chain = rules.draw_chain(rng)
    lines = rules.solution_text(chain, rules.draw_attempt(chain, rng)).split(SEPARATOR)
    kept, rounds = list[SteppedPath]([()]), []
    ends = [rng.randint(10, 40) for _ in range(n)]  # of the first, second … child of a round
    while kept:
        parents = [kept[i % len(kept)] for i in range(n)]
        rounds.append(
            [
                (*path, f"{rng.randrange(100)}: " + ", ".join(rng.choices(lines, k=rng.randint(1, 2))))
                for path in parents
            ]
        )
        open_ = [path for path, n_steps in zip(rounds[-1], ends, strict=True) if len(path) < n_steps]
        kept = rng.sample(open_, min(len(open_), n // WIDTH))
    return rounds


async def score_ragged(
    scorer: IncrementalScorer, question: str, rounds: Sequence[Sequence[SteppedPath]]
) -> tuple[int, dict[SteppedPath, tuple[int, float]]]:
    """Tokens that the scorer says it computed; of each path, the tokens of its last step and its score. The
    root has the tokens of the question, and no score.
    """
    async with scorer.session(question) as tree:
        nodes: dict[SteppedPath, Any] = {(): tree.root}
        found: dict[SteppedPath, tuple[int, float]] = {(): (len(tree.root.token_ids), 0.0)}
        for paths in rounds:
            for path in paths:
                nodes[path] = tree.extend(nodes[path[:-1]], path[-1])
            scores = await side_by_side(tree.score(nodes[path]) for path in paths)
            found |= {
                path: (len(nodes[path].token_ids), score) for path, score in zip(paths, scores, strict=True)
            }
        return tree.usage.n_new, found


def prm_token_figures(prm: str, n_trees: int) -> dict[str, Any]:
    """Every step's score is compared with those of whole texts: of each path that nothing extends."""
    rng = random.Random(0)
    problems, trees = draw_problems(0, n_trees), [ragged_tree(rng) for _ in range(n_trees)]
    network, encoding, _ = load_classifier(prm)
    scorer = IncrementalScorer(network, encoding, scorer_id="prm", max_batch_tokens=MAX_BATCH_TOKENS)
    n_positions = 0

    def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal n_positions
        n_positions += (kwargs["input_ids"] if "input_ids" in kwargs else args[0]).numel()

    async def run() -> list[tuple[int, dict[SteppedPath, tuple[int, float]]]]:
        questions = [problem.question for problem in problems]
        return await side_by_side(
            score_ragged(scorer, question, rounds) for question, rounds in zip(questions, trees, strict=True)
        )

    hook = network.base_model.register_forward_pre_hook(count, with_kwargs=True)
    results = asyncio.run(run())
    hook.remove()

    whole, differences, n_whole = WholeScorer(network, encoding), list[float](), 0
    for problem, rounds, (_, found) in zip(problems, trees, results, strict=True):
        parents = {path[:-1] for path in found}
        leaves = [path for path in found if path not in parents]
        for path, scores in zip(
            leaves, whole.score([(problem.question, path) for path in leaves]), strict=True
        ):
            differences += [abs(found[path[: i + 1]][1] - score) for i, score in enumerate(scores)]
        n_whole += sum(found[path[:i]][0] for paths in rounds for path in paths for i in range(len(path) + 1))
    n_tree = sum(n_tokens for _, found in results for n_tokens, _ in found.values())
    return {
        "prm_tokens_per_tree_token": round(sum(n_new for n_new, _ in results) / n_tree, 4),
        "prm_tokens": {
            "n_trees": n_trees,
            "n_rounds_of_trees": [len(rounds) for rounds in trees],
            "n_tree_tokens": n_tree,
            "positions_with_padding_per_tree_token": round(n_positions / n_tree, 3),
            "whole_texts_per_tree_token": round(n_whole / n_tree, 1),
            "largest_score_difference": max(differences),
        },
    }
