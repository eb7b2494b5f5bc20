"""The reward side of RL against the policy's generation: `python -m benchmarks.rewards --prm FOLDER` (two
minutes; one thread here, one in the server).

One batch as GRPO has it: `--problems` questions of the built-in task with `--group` completions each, by the
policy that ships with it (`--policy` takes another). What is timed, in turns and on the same completions:

- `generate`: transformers' `generate`, as TRL's GRPOTrainer calls it without vLLM;
- `engine`: the same number of draws by this project's engine;
- `outcome`: the grader's verdicts;
- `in_process`: `StepCredit` with the incremental scorer: finding steps, scoring them, advantages of tokens;
- `pooling`: the same with the PRM behind `/pooling` of `prm-train serve` on this machine;
- `v1_score`: a request to its `/v1/score` for each completion, 16 under way.

Seconds are of processors, the server's included: other work on a shared machine stretches wall clocks, which
are given, too. `share_of_generate` is what the reward side adds to a batch. `tokens_per_distinct` is 1 where
no token was scored twice. Prints JSON; `--output` also writes it.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoModelForCausalLM

from benchmarks.serving.target import Target, start_server
from data_gen.files.jsonl import write_text
from data_gen.models.prompt_ids import encode_question
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.config import load_policy
from data_gen.policies.protocol import Policy
from data_gen.problems.tasks import DEFAULT_TASK, model_path
from data_gen.process.machine import machine_name
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from data_gen.records.steps import split_steps
from data_gen.settings.parse import run_command
from prm_train.kinds.load import load_scorer
from prm_train.kinds.served import connect_scorer
from prm_train.rewards import OutcomeReward, StepCredit
from prm_train.rewards.step_spans import per_token
from prm_train.scoring.incremental import IncrementalScorer

MAX_NEW_TOKENS = 96
AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """Completions as ids up to EOS; `problems` has each problem once for each of them."""

    problems: list[Problem]
    completion_ids: list[list[int]]
    texts: list[str]

    @property
    def questions(self) -> list[str]:
        return [problem.question for problem in self.problems]


class Generation:
    """A batch by transformers' `generate`, the same at every call."""

    def __init__(self, policy: str, problems: Sequence[Problem], group: int) -> None:
        self.tokenizer = load_tokenizer(policy)
        self.model = AutoModelForCausalLM.from_pretrained(policy).eval()
        self.problems = [problem for problem in problems for _ in range(group)]
        prompts = [
            list(encode_question(self.tokenizer, "{question}", each.question)) for each in self.problems
        ]
        longest, pad = max(map(len, prompts)), self.tokenizer.pad_token_id
        self.input_ids = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in prompts])  # (B, P)

    @torch.inference_mode()
    def __call__(self) -> Batch:
        torch.manual_seed(0)
        mask = (self.input_ids != self.tokenizer.pad_token_id).long()
        written = self.model.generate(
            self.input_ids, attention_mask=mask, do_sample=True, max_new_tokens=MAX_NEW_TOKENS, top_k=0
        )
        eos, ids = self.tokenizer.eos_token_id, []
        for row in written[:, self.input_ids.shape[1] :].tolist():
            ids.append(row[: row.index(eos) + 1] if eos in row else row)
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return Batch(self.problems, ids, texts)


def draw_by_engine(policy: Policy, problems: Sequence[Problem], group: int) -> None:
    async def draw() -> None:
        params = SamplingParams(max_new_tokens=MAX_NEW_TOKENS)
        prompts = [policy.encode_prompt(problem.question) for problem in problems]
        await asyncio.gather(
            *(policy.sample(prompt, params, index) for prompt in prompts for index in range(group))
        )

    asyncio.run(draw())


def credited(step_credit: StepCredit, tokenizer: Any, batch: Batch, outcomes: Sequence[float | None]) -> None:
    scored = step_credit.score(tokenizer, batch.questions, batch.completion_ids)
    credit = step_credit.credit(outcomes, scored.scores, [problem.problem_id for problem in batch.problems])
    for own, steps in zip(credit.advantages, scored.steps, strict=True):
        per_token(own, steps)


def scored_by_requests(url: str, batch: Batch) -> None:
    async def ask() -> None:
        places = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(base_url=url, timeout=600) as client:

            async def one(question: str, text: str) -> None:
                async with places:
                    body = {"question": question, "solution": text}
                    (await client.post("/v1/score", json=body)).raise_for_status()

            pairs = zip(batch.questions, batch.texts, strict=True)
            await asyncio.gather(*(one(*pair) for pair in pairs if split_steps(pair[1], "\n")))

    asyncio.run(ask())


def n_distinct_tokens(scorer: IncrementalScorer, batch: Batch) -> int:
    """Of the trees of steps of all questions."""
    heads = {question: len(scorer.encode_head(question)) for question in batch.questions}
    paths = [
        (question, split_steps(text, "\n"))
        for question, text in zip(batch.questions, batch.texts, strict=True)
    ]
    prefixes = {(question, steps[: n + 1]) for question, steps in paths for n in range(len(steps))}
    return sum(heads.values()) + sum(len(scorer.encode_step(steps[-1])) for _, steps in prefixes)


def in_turns(
    contenders: dict[str, Callable[[], Any]], server: Target, n_repeats: int
) -> dict[str, dict[str, float]]:
    """Medians of seconds, after one run of each that does not count."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(n_repeats + 1):
        for name, run in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time() + server.cpu_seconds
            run()
            cost = time.perf_counter() - wall, time.process_time() + server.cpu_seconds - cpu
            if number:
                spent[name].append(cost)
    return {
        name: {
            "wall_seconds": round(statistics.median(wall for wall, _ in costs), 3),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in costs), 3),
        }
        for name, costs in spent.items()
    }


def measure(prm: Path, policy: str, n_problems: int, group: int, n_repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # which the server takes over
    problems = list(islice(DEFAULT_TASK.problems(0, "train"), n_problems))
    generation = Generation(policy, problems, group)
    engine = load_policy(policy)
    batch, scorer = generation(), load_scorer(str(prm))
    assert isinstance(scorer, IncrementalScorer)
    outcome, here = OutcomeReward(DEFAULT_TASK.grader), StepCredit(scorer, "min")
    columns: dict[str, Any] = {
        "question": batch.questions,
        "gold_answer": [each.gold_answer for each in batch.problems],
    }
    prompts = [""] * len(batch.texts)
    outcomes = outcome(prompts, batch.texts, **columns)
    with start_server(prm) as server:
        there = StepCredit(connect_scorer(str(prm), (server.url,), model="prm"), "min")
        tokenizer = generation.tokenizer
        figures = in_turns(
            {
                "generate": generation,
                "engine": lambda: draw_by_engine(engine, problems, group),
                "outcome": lambda: outcome(prompts, batch.texts, **columns),
                "in_process": lambda: credited(here, tokenizer, batch, outcomes),
                "pooling": lambda: credited(there, tokenizer, batch, outcomes),
                "v1_score": lambda: scored_by_requests(server.url, batch),
            },
            server,
            n_repeats,
        )
    cost = {name: each["cpu_seconds"] for name, each in figures.items()}
    rewards = ("outcome", "in_process", "pooling", "v1_score")
    return {
        "machine": machine_name(),
        "n_problems": n_problems,
        "group": group,
        "n_tokens_generated": sum(map(len, batch.completion_ids)),
        "share_of_generate": {name: round(cost[name] / cost["generate"], 4) for name in rewards},
        "share_of_engine": {name: round(cost[name] / cost["engine"], 4) for name in rewards},
        "tokens_per_distinct": {
            name: round(each.work.n_tokens / each.work.n_calls / n_distinct_tokens(scorer, batch), 3)
            for name, each in (("in_process", here), ("pooling", there))
        },
        "seconds": figures,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prm", type=Path, required=True, help="a PRM of the built-in task")
    parser.add_argument(
        "--policy", default=model_path("base"), help="the policy; by default the built-in one"
    )
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(argv)
    figures = measure(given.prm, given.policy, given.problems, given.group, given.repeats)
    print(json.dumps(figures, indent=1))
    if given.output is not None:
        write_text(given.output, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main, "benchmarks.rewards")
