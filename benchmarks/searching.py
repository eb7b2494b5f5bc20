"""How quick a search is: `python -m benchmarks.searching` (about 10 minutes; one process, one thread), with
`--peers .venv-peers/bin/python` against other projects, too (`make bench-search` does both).

- *beam search* with the policy of the built-in task and a PRM of its size (`--prm`; else one with a random
  head, whose trees are as large), 4 next steps a path, steps to the end: against `benchmarks.textbook`, which
  goes problem by problem, with one problem in flight and with all of them.
- *PRM tokens*: trees of 10 to 40 ragged steps, scored after every step by `IncrementalScorer`; tokens that
  its model computes (padding counted apart) against the distinct tokens of the trees, and the scores against
  those of whole texts.
- *best-of-N*: 64 candidates of each problem, drawn into a ledger and scored, less the forward passes of the
  scorer, against sampling alone (`policy.sample`, no ledger).
- *sampling*: 64 draws a prompt against `model.generate` in batches of 64, tokens per cpu-second.
- *peers*: see `benchmarks.search_peers`.

Contenders take turns, with other problems in each round; ratios are medians of the rounds, of the wall clock
(`beam_wall_ratio…`) and of CPU seconds, which say more on a machine that others use. Ours is charged for its
ledger, a file. Loading is not timed. Writes benchmarks/results/search.json; `quickstart_cpu_seconds` in it is
kept as it is there.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.sampling import MAX_SOLUTION_TOKENS, Engine, Generate
from benchmarks.textbook import MAX_BATCH_TOKENS, MAX_STEPS, SEPARATOR, WIDTH, Textbook, WholeScorer, Work
from data_gen.grading.graders import load_grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.process.machine import machine_name
from data_gen.process.side_by_side import side_by_side
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.kinds.load import load_classifier
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.strategies.best_of_n import draw_candidates, score_candidates
from prm_train.strategies.paths import search_tree
from prm_train.strategies.tree_searches import parse_strategy
from prm_train.training.config import TrainPrmConfig
from prm_train.training.scorer_network import build_scorer, save_scorer

RESULT = Path(__file__).parent / "results" / "search.json"
STEP = SamplingParams(MAX_SOLUTION_TOKENS, 1.0, SEPARATOR)
WHOLE = SamplingParams(MAX_SOLUTION_TOKENS, 1.0)
N_CANDIDATES = 64
N_TREES = 4
SteppedPath = tuple[str, ...]


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


def draw_problems(round_: int, n: int) -> list[Problem]:
    """Other ones in each round."""
    return list(islice(rules.draw_problems(round_, "validation"), n))


class Ours:
    """Policy, scorer and ledger as `prm-train search` has them, with nothing of an earlier search in their
    caches.
    """

    def __init__(self, policy: str, prm: str) -> None:
        self.policy, self.reader = load_policy(policy), load_grader("arithmetic", "arithmetic")
        self.network, encoding, _ = load_classifier(prm)
        self.scorer = IncrementalScorer(
            self.network, encoding, scorer_id="prm", max_batch_tokens=MAX_BATCH_TOKENS
        )

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
            yield ledger

    def search(self, problems: Sequence[Problem], strategy: str, n: int, at_once: bool) -> Work:
        """`at_once` puts all problems in flight, else one after the other."""
        spec = parse_strategy(strategy)
        config = spec.config(n, spec.settings(max_steps=MAX_STEPS, temperature=1.0))

        async def one(problem: Problem, ledger: Ledger) -> Work:
            policy = LedgerPolicy(self.policy, ledger, problem)
            _, usage = await search_tree(
                lambda grower: spec.strategy.run(grower, config),
                *(policy, self.reader, self.scorer, "prm", STEP),
            )
            return Work(policy.n_draws, policy.usage.n_generated, usage.n_new)

        async def run(ledger: Ledger) -> list[Work]:
            works = [one(problem, ledger) for problem in problems]
            return await side_by_side(works) if at_once else [await work for work in works]

        with self.ledger() as ledger:
            return total(asyncio.run(run(ledger)))

    def candidates(self, problems: Sequence[Problem], is_scored: bool) -> Work:
        """Drawn for all problems, and scored."""

        async def one(problem: Problem, ledger: Ledger) -> Work:
            policy = LedgerPolicy(self.policy, ledger, problem)
            drawn = await draw_candidates(policy, self.reader, WHOLE, range(N_CANDIDATES))
            work = Work(0, policy.usage.n_generated)
            if is_scored:
                _, usage = await score_candidates(problem, drawn, self.scorer, "prm", SEPARATOR)
                work.n_prm = usage.n_new
            return work

        async def run(ledger: Ledger) -> list[Work]:
            return await side_by_side(one(problem, ledger) for problem in problems)

        with self.ledger() as ledger:
            return total(asyncio.run(run(ledger)))


def total(works: Sequence[Work]) -> Work:
    return Work(*(sum(getattr(work, name) for work in works) for name in asdict(Work())))


def beam_round(models: tuple[str, str], n: int, problems: Sequence[Problem]) -> dict[str, Cost]:
    """The textbook loop, ours with one problem in flight, ours with all."""
    strategy = f"beam:width={WIDTH}"

    def textbook() -> Work:
        for problem in problems:
            loop.search(problem.question, n)
        return loop.work

    loop, costs = Textbook(*models), {}
    costs["textbook"] = timed(textbook)
    for name, at_once in (("one_in_flight", False), ("all_in_flight", True)):
        ours = Ours(*models)
        costs[name] = timed(partial(ours.search, problems, strategy, n, at_once))
    return costs


def median_ratio(rounds: Sequence[dict[str, Cost]], name: str, clock: str) -> float:
    ratios = [getattr(costs["textbook"], clock) / getattr(costs[name], clock) for costs in rounds]
    return round(statistics.median(ratios), 2)


def beam_figures(
    models: tuple[str, str], sizes: Sequence[int], n_problems: int, n_rounds: int
) -> dict[str, Any]:
    names = {"": "all_in_flight", "_one_in_flight": "one_in_flight"}
    figures: dict[str, Any] = {f"beam_{clock}_ratio{name}": {} for name in names for clock in ("wall", "cpu")}
    figures["beam_runs"] = {}
    for n in sizes:
        rounds = [beam_round(models, n, draw_problems(round_, n_problems)) for round_ in range(n_rounds)]
        for name, contender in names.items():
            for clock in ("wall", "cpu"):
                ratio = median_ratio(rounds, contender, f"{clock}_seconds")
                figures[f"beam_{clock}_ratio{name}"][str(n)] = ratio
        figures["beam_runs"][str(n)] = [rounded(costs) for costs in rounds]
        print(n, {name: values[str(n)] for name, values in figures.items() if "ratio" in name}, flush=True)
    return figures


def rounded(costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        name: {
            "wall_seconds": round(cost.wall_seconds, 2),
            "cpu_seconds": round(cost.cpu_seconds, 2),
            **asdict(cost.work),
        }
        for name, cost in costs.items()
    }


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
        found = {(): (len(tree.root.token_ids), 0.0)}
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


def best_of_n_round(models: tuple[str, str], problems: Sequence[Problem]) -> dict[str, float]:
    """CPU seconds of sampling alone, of drawing into a ledger, of drawing and scoring, and of the scorer's
    forward passes in that.
    """
    engine = Engine(load_policy(models[0]))
    prompts = [engine.policy.encode_prompt(problem.question) for problem in problems]

    def sample() -> Work:
        async def run() -> int:
            works = [
                engine.policy.sample(prompt, WHOLE, index)
                for prompt in prompts
                for index in range(N_CANDIDATES)
            ]
            return sum(len(draw.token_ids) for draw in await side_by_side(works))

        return Work(0, asyncio.run(run()))

    seconds, marks, forward = {"sampling": timed(sample).cpu_seconds}, list[float](), 0.0

    def begin(*_: Any) -> None:
        marks.append(time.process_time())

    def end(*_: Any) -> None:
        nonlocal forward
        forward += time.process_time() - marks.pop()

    seconds["ledger"] = timed(lambda: Ours(*models).candidates(problems, False)).cpu_seconds
    ours = Ours(*models)
    ours.network.base_model.register_forward_pre_hook(begin)
    ours.network.base_model.register_forward_hook(end)
    seconds["scored"] = timed(lambda: ours.candidates(problems, True)).cpu_seconds
    return {**seconds, "scorer_forward": forward}


def best_of_n_figures(models: tuple[str, str], n_problems: int, n_rounds: int) -> dict[str, Any]:
    rounds = [best_of_n_round(models, draw_problems(round_, n_problems)) for round_ in range(n_rounds)]
    overheads = [(each["scored"] - each["scorer_forward"]) / each["sampling"] - 1 for each in rounds]
    return {
        "best_of_n_overhead": round(statistics.median(overheads), 3),
        "best_of_n_runs": [{name: round(value, 2) for name, value in each.items()} for each in rounds],
    }


def sampling_figures(policy_folder: str, n_problems: int, n_rounds: int) -> dict[str, Any]:
    ratios = []
    for round_ in range(n_rounds):
        policy = load_policy(policy_folder)
        prefixes = [
            policy.encode_prompt(problem.question)
            for problem in draw_problems(round_, n_problems)
            for _ in range(N_CANDIDATES)
        ]
        rates = []
        for contender in (Generate(policy_folder, policy), Engine(policy)):
            gc.collect()
            started = time.process_time()
            texts = contender.draw(prefixes, MAX_SOLUTION_TOKENS, 1.0, False)
            rates.append(sum(map(len, texts)) / (time.process_time() - started))
        ratios.append(rates[1] / rates[0])
    return {"sampling_ratio_64_per_prompt": round(statistics.median(ratios), 2)}


def random_prm(policy: str, folder: Path) -> str:
    """A PRM as a training would begin with: the policy's network with a new head."""
    torch.manual_seed(0)
    network, encoding = build_scorer("prm", TrainPrmConfig(rows=folder, output=folder, model=policy))
    save_scorer(
        network, encoding, CheckpointFacts("prm", encoding.facts, "none, it is random", "min"), folder
    )
    return str(folder)


def peer_figures(python: str, arguments: argparse.Namespace, prm: str) -> dict[str, Any]:
    """What `benchmarks.search_peers` prints in the environment of the peers."""
    command = [
        *(python, "-m", "benchmarks.search_peers", "--policy", arguments.policy, "--prm", prm),
        *("--problems", str(arguments.peer_problems), "--rounds", str(arguments.rounds)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {"peers": json.loads(done.stdout.splitlines()[-1])}


def measure(arguments: argparse.Namespace, prm: str) -> dict[str, Any]:
    models = (arguments.policy, prm)
    figures = prm_token_figures(prm, N_TREES)
    print(figures, flush=True)
    figures |= sampling_figures(arguments.policy, arguments.problems // 2, arguments.rounds)
    figures |= best_of_n_figures(models, arguments.problems, arguments.rounds)
    print(
        {name: figures[name] for name in ("sampling_ratio_64_per_prompt", "best_of_n_overhead")}, flush=True
    )
    figures |= beam_figures(models, arguments.sizes, arguments.problems, arguments.rounds)
    return figures | (peer_figures(arguments.peers, arguments, prm) if arguments.peers else {"peers": None})


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--policy", default=str(BASE_POLICY), help="folder of the policy of the built-in task"
    )
    parser.add_argument("--prm", help="folder of a PRM for it; left out: one with a random head")
    parser.add_argument("--problems", type=int, default=16, help="problems of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64], help="N of beam search")
    parser.add_argument("--peers", help="Python of an environment with the peers (make .venv-peers)")
    parser.add_argument("--peer_problems", type=int, default=10, help="problems of each round against peers")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        prm = arguments.prm or random_prm(arguments.policy, Path(folder) / "prm")
        figures = measure(arguments, prm)
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    figures["quickstart_cpu_seconds"] = known.get("quickstart_cpu_seconds")
    figures |= {
        "n_problems": arguments.problems,
        "n_rounds": arguments.rounds,
        "prm": "trained" if arguments.prm else "random head",
        "machine": f"{machine_name()}, 1 thread",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "command": "make bench-search",
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
