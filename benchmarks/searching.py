"""How quick a search is: `python -m benchmarks.searching` (about 10 minutes; one process, one thread), with
`--peers .venv-peers/bin/python` against other projects, too (`make bench-search` does both).

- *beam search* with the policy of the built-in task and a PRM of its size (`--prm`; else one with a random
  head, whose trees are as large), 4 next steps a path, steps to the end: against `benchmarks.textbook`, which
  goes problem by problem: ours with one in flight on the same problems, and with 64 on more of them.
- *PRM tokens*: trees of 10 to 40 ragged steps, scored after every step by `IncrementalScorer`; tokens that
  its model computes (padding counted apart) against the distinct tokens of the trees, and the scores against
  those of whole texts.
- *best-of-N*: 64 candidates of each problem, drawn into a ledger and scored, less the forward passes of the
  scorer, against sampling alone: `policy.sample`, and (`…_to_ledger`) draws into one, their answers read.
- *sampling*: 64 draws a prompt against `model.generate` in batches of 64, tokens per cpu-second.
- *peers*: see `benchmarks.search_peers`.

Contenders take turns, with other problems in each round; ratios are medians of the rounds, of the wall clock
(`beam_wall_ratio…`) and of CPU seconds, which say more on a machine that others use. Ours is charged for its
ledger, a file. Loading is not timed. Writes benchmarks/results/search.json, each part as it is done;
`quickstart_cpu_seconds` is not measured here (null until somebody adds it, and kept).
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.ragged_trees import draw_problems, prm_token_figures
from benchmarks.sampling import MAX_SOLUTION_TOKENS, Engine, Generate
from benchmarks.textbook import (
    MAX_BATCH_TOKENS,
    MAX_STEPS,
    SEPARATOR,
    WIDTH,
    Cost,
    Textbook,
    Work,
    rounded,
    timed,
)
from data_gen.grading.graders import load_grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.engine.transformers_policy import load_policy
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


class Ours:
    """Policy, scorer and ledger as `prm-train search` has them, with nothing of an earlier search in their
    caches.
    """

    def __init__(
        self,
        policy: str,
        prm: str,
        device: str = "cpu",
        dtype: str = "float32",
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        **of_policy: Any,
    ) -> None:
        self.policy = load_policy(policy, dtype=dtype, device=device, **of_policy)
        self.reader = load_grader("arithmetic", "arithmetic")
        network, encoding, _ = load_classifier(prm, dtype)
        self.network = network.to(device)
        self.scorer = IncrementalScorer(
            self.network, encoding, scorer_id="prm", max_batch_tokens=max_batch_tokens
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
                lambda grower: spec.run(grower, config, self.reader),
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


def beam_round(models: tuple[str, str], n: int, some: list[Problem], all_: list[Problem]) -> dict[str, Cost]:
    """The textbook loop, ours with one problem in flight, ours with all of `all_`."""

    def textbook() -> Work:
        for problem in some:
            loop.search(problem.question, n)
        return loop.work

    loop, costs, beam = Textbook(*models), {}, f"beam:width={WIDTH}"
    costs["textbook"] = timed(textbook)
    costs["one_in_flight"] = timed(partial(Ours(*models).search, some, beam, n, False))
    costs["all_in_flight"] = timed(partial(Ours(*models).search, all_, beam, n, True))
    return costs


def median_ratio(rounds: Sequence[dict[str, Cost]], name: str, clock: str) -> float:
    """Of the seconds for a step: the problems may be others."""
    seconds = [{name: getattr(c, clock) / c.work.n_steps for name, c in costs.items()} for costs in rounds]
    return round(statistics.median(each["textbook"] / each[name] for each in seconds), 2)


def beam_figures(models: tuple[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    names = {"": "all_in_flight", "_one_in_flight": "one_in_flight"}
    figures: dict[str, Any] = {f"beam_{clock}_ratio{name}": {} for name in names for clock in ("wall", "cpu")}
    figures |= {"beam_n_in_flight": arguments.in_flight, "beam_runs": {}}
    for n in arguments.sizes:
        rounds = []
        for round_ in range(arguments.rounds):
            problems = draw_problems(round_, max(arguments.problems, arguments.in_flight))
            rounds.append(beam_round(models, n, problems[: arguments.problems], problems))
        for name, contender in names.items():
            for clock in ("wall", "cpu"):
                ratio = median_ratio(rounds, contender, f"{clock}_seconds")
                figures[f"beam_{clock}_ratio{name}"][str(n)] = ratio
        figures["beam_runs"][str(n)] = [rounded(costs) for costs in rounds]
    return figures


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

    ours = Ours(*models)
    seconds["ledger"] = timed(lambda: ours.candidates(problems, False)).cpu_seconds
    ours = Ours(*models)
    ours.network.base_model.register_forward_pre_hook(begin)
    ours.network.base_model.register_forward_hook(end)
    seconds["scored"] = timed(lambda: ours.candidates(problems, True)).cpu_seconds
    return {**seconds, "scorer_forward": forward}


def best_of_n_figures(models: tuple[str, str], n_problems: int, n_rounds: int) -> dict[str, Any]:
    rounds = [best_of_n_round(models, draw_problems(round_, n_problems)) for round_ in range(n_rounds)]

    def overhead(base: str) -> float:
        ratios = [(each["scored"] - each["scorer_forward"]) / each[base] for each in rounds]
        return round(statistics.median(ratios) - 1, 3)

    return {
        "best_of_n_overhead": overhead("sampling"),
        "best_of_n_overhead_to_ledger": overhead("ledger"),
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


PARTS = ("prm_tokens", "beam", "best_of_n", "sampling", "peers")


def measure(part: str, arguments: argparse.Namespace, prm: str) -> dict[str, Any]:
    n_problems, n_rounds, models = arguments.problems, arguments.rounds, (arguments.policy, prm)
    match part:
        case "prm_tokens":
            return prm_token_figures(prm, arguments.trees)
        case "beam":
            return beam_figures(models, arguments)
        case "best_of_n":
            return best_of_n_figures(models, n_problems, n_rounds)
        case "sampling":
            return sampling_figures(arguments.policy, n_problems // 2, n_rounds)
        case _:
            return peer_figures(arguments.peers, arguments, prm)


def add_figures(path: Path, figures: dict[str, Any]) -> None:
    """What other parts wrote stays."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"quickstart_cpu_seconds": None, **known, **figures}, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--policy", default=str(BASE_POLICY), help="folder of the policy of the built-in task"
    )
    parser.add_argument("--prm", help="folder of a PRM for it; left out: one with a random head")
    parser.add_argument("--problems", type=int, default=16, help="problems of each round")
    parser.add_argument("--in_flight", type=int, default=64, help="problems in flight, where it is all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64], help="N of beam search")
    parser.add_argument("--peers", help="Python of an environment with the peers (make .venv-peers)")
    parser.add_argument("--peer_problems", type=int, default=10, help="problems of each round against peers")
    parser.add_argument("--trees", type=int, default=4, help="trees of the part prm_tokens")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="what to measure; figures of other parts stay as they are",
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    facts = {
        "machine": f"{machine_name()}, 1 thread",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "load": f"{os.getloadavg()[0]:.0f} processes at the start, others' among them",
        "prm": "trained" if arguments.prm else "random head",
        "command": "make bench-search" + (" ARGS='--prm FOLDER'" if arguments.prm else ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        prm = arguments.prm or random_prm(arguments.policy, Path(folder) / "prm")
        for part in arguments.parts:
            if part == "peers" and arguments.peers is None:
                continue
            figures = measure(part, arguments, prm)
            print(json.dumps({name: value for name, value in figures.items() if "runs" not in name}))
            if part in ("beam", "best_of_n", "sampling"):
                figures[f"{part}_sizes"] = {"n_problems": arguments.problems, "n_rounds": arguments.rounds}
            add_figures(arguments.output, {**facts, **figures})


if __name__ == "__main__":
    main()
