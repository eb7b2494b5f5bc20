"""Search libraries from PyPI against ours, on the same policy and the same PRM: run by `benchmarks.searching
--peers PYTHON` with the Python of an environment that holds them (`make .venv-peers`); by itself it prints
its figures as JSON.

What each does for a step of all paths of a problem, as read in its code:

- its_hub 1.2.0, `BeamSearch` and `ParticleFiltering`: asks the language model for the next step of each path
  as a text of its own, equal paths as often as there are copies; then gives the whole text of every path to
  the PRM. Both are batches of one problem, and the next problem waits until this one is done. Ended paths
  stay in its beam and are copied there; its first round draws M steps, not N. Its own PRM class needs
  reward-hub and vLLM.
- thinkbooster 0.1.1, `StrategyBeamSearch`: one batch for all paths of all problems, of `candidates_per_beam`
  steps a path, and one of their whole texts for the PRM; equal paths are not joined. Its beam begins with one
  path, so it draws `candidates_per_beam` first steps, not N. Its backends in this process need vLLM: the
  generator for transformers lacks `generate_step_candidates_batch`, which this loop calls, and the PRM for
  transformers calls `reward`, which only vLLM's models have.

So both run their own loops here, and under them stand `model.generate` in batches of 64 and
`benchmarks.textbook.WholeScorer`, in the batches that each asks for. Ours runs with all problems in flight,
and with one. Ratios are of seconds for the same problems.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from benchmarks.ragged_trees import draw_problems
from benchmarks.sampling import MAX_STEP_TOKENS, Ids
from benchmarks.searching import Ours
from benchmarks.textbook import MAX_STEPS, SEPARATOR, WIDTH, Cost, Textbook, Work, rounded, timed
from data_gen.records.solutions import Problem
from data_gen.records.steps import split_steps

NEEDED = {
    "its_hub": "its_hub.core.algorithms.beam_search",
    "thinkbooster": "thinkbooster.strategies.strategy_beam_search",
}


class Models:
    """What stands under both libraries: the textbook's `generate` and scorer, from texts to texts."""

    def __init__(self, policy: str, prm: str) -> None:
        self.book = Textbook(policy, prm)
        self.tokenizer, self.work = self.book.tokenizer, self.book.work
        self.eos = self.tokenizer.decode([self.book.policy.eos_ids[0]])

    def next_steps(self, question: str, texts: Sequence[str]) -> list[tuple[str, Ids]]:
        return self.write([(question, text) for text in texts])

    def write(self, texts: Sequence[tuple[str, str]]) -> list[tuple[str, Ids]]:
        """The next step behind each (question, text), with its newline, and its ids: EOS is the last of them
        if the solution ends there.
        """
        prefixes = [
            self.book.policy.encode_prompt(question)
            + tuple(self.tokenizer.encode(text, add_special_tokens=False))
            for question, text in texts
        ]
        steps = self.book.generate.draw(prefixes, MAX_STEP_TOKENS, 1.0, is_step=True)
        self.work.n_steps += len(steps)
        self.work.n_generated += sum(map(len, steps))
        return [(self.tokenizer.decode(ids, skip_special_tokens=True), ids) for ids in steps]

    def is_end(self, ids: Ids) -> bool:
        return ids[-1] in self.book.policy.eos_ids

    def score(self, paths: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Of all steps of each (question, text); a text without a step has none."""
        split = [(question, split_steps(text, SEPARATOR)) for question, text in paths]
        before, scorer = self.book.scorer.n_tokens, self.book.scorer
        scores = iter(scorer.score([path for path in split if path[1]]))
        self.work.n_prm += scorer.n_tokens - before
        return [next(scores) if steps else [] for _, steps in split]


def its_hub(models: Models, problems: Sequence[Problem], strategy: str, n: int) -> Work:
    from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
    from its_hub.core.lms.step_generation import StepGeneration

    class Policy(AbstractLanguageModel):
        async def agenerate(self, messages: Any, stop: Any = None, **_: Any) -> Any:
            texts = [chat[1].content if len(chat) > 1 else "" for chat in messages]
            steps = models.next_steps(messages[0][0].content, texts)
            return [
                {"role": "assistant", "content": text + (models.eos if models.is_end(ids) else "")}
                for text, ids in steps
            ]

        def generate(self, messages: Any, stop: Any = None, **arguments: Any) -> Any:
            return asyncio.run(self.agenerate(messages, stop, **arguments))

    class Prm(AbstractProcessRewardModel):
        async def ascore(self, prompt: str, responses: list[str]) -> list[float]:
            paths = [(prompt, response.replace(models.eos, "")) for response in responses]
            return [min(scores, default=0.0) for scores in models.score(paths)]

        def score(self, prompt: str, responses: list[str]) -> list[float]:
            return asyncio.run(self.ascore(prompt, responses))

    steps = StepGeneration(
        max_steps=MAX_STEPS,
        step_token=SEPARATOR,
        stop_token=models.eos,
        temperature=1.0,
        include_stop_str_in_output=True,
    )
    algorithm = (
        BeamSearch(steps, Prm(), beam_width=n // WIDTH)
        if strategy == "beam"
        else ParticleFiltering(steps, Prm())
    )
    for problem in problems:
        asyncio.run(algorithm.ainfer(Policy(), problem.question, budget=n, return_response_only=False))
    return models.work


def thinkbooster(models: Models, problems: Sequence[Problem], strategy: str, n: int) -> Work:
    from thinkbooster.generators import StepCandidate
    from thinkbooster.strategies.strategy_beam_search import StrategyBeamSearch

    def candidates(requests: Any, trajectories: Any, candidates_per_step: int, **_: Any) -> list[list[Any]]:
        texts = [
            (request[0]["content"], "".join(step.text for step in trajectory))
            for request, trajectory in zip(requests, trajectories, strict=True)
            for _ in range(candidates_per_step)
        ]
        made = [
            StepCandidate(text, list(ids), is_complete=True, is_trajectory_complete=models.is_end(ids))
            for text, ids in models.write(texts)
        ]
        return [made[i : i + candidates_per_step] for i in range(0, len(made), candidates_per_step)]

    def scores(chats: Any, trajectories: Any, **_: Any) -> list[list[float]]:
        paths = [
            (chat[0]["content"], "".join(step.text for step in trajectory))
            for chat, trajectory in zip(chats, trajectories, strict=True)
        ]
        return models.score(paths)

    generator = SimpleNamespace(
        generate_step_candidates_batch=candidates,
        reset_per_sample_stats=lambda: None,
        get_sample_stats_for=lambda _: {},
    )
    scorer = SimpleNamespace(prm_model=models.book.scorer.model, score_trajectories_batch=scores)
    search = StrategyBeamSearch(
        generator, scorer, n // WIDTH, WIDTH, max_steps=MAX_STEPS, aggregation="min", prompt_buffer=0
    )
    search.generate_trajectories_batch(
        [[{"role": "user", "content": problem.question}] for problem in problems]
    )
    return models.work


RUNS: dict[str, tuple[Callable[[Models, Sequence[Problem], str, int], Work], tuple[str, ...]]] = {
    "its_hub": (its_hub, ("beam", "particle_filter")),
    "thinkbooster": (thinkbooster, ("beam",)),
}


def one_round(
    models: tuple[str, str], peers: Sequence[str], strategy: str, n: int, problems: Sequence[Problem]
) -> dict[str, Cost]:
    spec, costs = f"{strategy}:width={WIDTH}" if strategy == "beam" else strategy, {}
    for peer in peers:
        run, strategies = RUNS[peer]
        if strategy in strategies:
            costs[peer] = timed(partial(run, Models(*models), problems, strategy, n))
    for name, at_once in (("ours, one in flight", False), ("ours, all in flight", True)):
        costs[name] = timed(partial(Ours(*models).search, problems, spec, n, at_once))
    return costs


def compare(rounds: Sequence[dict[str, Cost]], peers: Sequence[str]) -> dict[str, Any]:
    """How many times as long each peer takes, and what all of them did."""
    ratios: dict[str, Any] = {}
    for peer in peers:
        if peer not in rounds[0]:
            continue
        ratios[peer] = {
            f"{clock}_ratio_to_{name.removeprefix('ours, ').replace(' ', '_')}": round(
                statistics.median(
                    getattr(costs[peer], f"{clock}_seconds") / getattr(costs[name], f"{clock}_seconds")
                    for costs in rounds
                ),
                2,
            )
            for name in ("ours, one in flight", "ours, all in flight")
            for clock in ("wall", "cpu")
        }
    return {**ratios, "runs": [rounded(costs) for costs in rounds]}


def what_is_missing(peer: str) -> str | None:
    """Why it cannot be imported here."""
    try:
        import_module(NEEDED[peer])
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", required=True, help="folder of the policy of the built-in task")
    parser.add_argument("--prm", required=True, help="folder of a PRM for it")
    parser.add_argument("--problems", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 16], help="N")
    arguments = parser.parse_args(argv)

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.INFO)  # thinkbooster logs every path
    missing = {peer: reason for peer in NEEDED if (reason := what_is_missing(peer))}
    found = [peer for peer in NEEDED if peer not in missing]
    figures: dict[str, Any] = {
        "not_run": missing,
        "versions": {peer: version(peer) for peer in found},
        "n_problems": arguments.problems,
        "n_rounds": arguments.rounds,
    }
    for strategy in ("beam", "particle_filter"):
        for n in arguments.sizes:
            rounds = [
                one_round(
                    (arguments.policy, arguments.prm),
                    *(found, strategy, n, draw_problems(round_, arguments.problems)),
                )
                for round_ in range(arguments.rounds)
            ]
            figures[f"{strategy}_{n}"] = compare(rounds, found)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
