"""How `sample` and `label` scale, and what the scheduler and the ledger cost: `python -m
benchmarks.throughput`.

- *scale*: 400, 4,000 and 40,000 questions, each size in a process of its own: four solutions a question are
  drawn and labeled (`first_error`) from a policy that costs next to nothing and writes 130 tokens: about 10⁴,
  10⁵ and 10⁶ draws. CPU a draw is that of the whole process, from the problem file to labels.jsonl, less what
  policy and grader take by themselves.
- *commands*: `prm-train sample` and `label` on 10⁴ and 10⁵ questions of the built-in task with the simulated
  policy, as a user runs them: the memory of the processes.
- *engine*: solutions of up to 160 tokens from a random network of 27 million parameters. The share is the CPU
  spent outside the engine's batch.

Clocks of a shared machine mean little, CPU clocks too: neighbours slow memory and caches. So *scale* also
times a fixed piece of work all along (`json.dumps` of a thousand numbers, 16 times in 1,000 draws) and tells
the cost of a draw in units of it, which must not grow.
"""

import argparse
import asyncio
import json
import multiprocessing
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_gen.files.run_folder import write_records
from data_gen.label import LabelConfig, label_run
from data_gen.labeling.summary import LabelSummary
from data_gen.ledger.store import Ledger
from data_gen.policies.metered import MeteredPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.sources import ProblemSource
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem, Solution
from data_gen.sample import sample_run
from data_gen.sampling.settings import SampleConfig

RESULT = Path(__file__).parent / "results" / "throughput.json"
N_STEPS = 6
REFERENCE_EVERY, N_REFERENCES, NUMBERS = 1000, 16, list(range(1000))
EOS_ID = 256


class CheapPolicy:
    """Writes one of sixteen texts of six steps and an answer, right in four of them. Its completions are made
    once and handed out.
    """

    def __init__(self) -> None:
        self.policy_id, self.base_seed, self.context_length = "cheap", 0, 4096
        self._texts = [
            "".join(f"Step {step} in words {text:02d}\n" for step in range(N_STEPS)) + f"Answer: {text // 12}"
            for text in range(16)
        ]
        self._completions: dict[tuple[int, int], Completion] = {}
        self.n_draws = self.n_references = 0
        self.reference_seconds = 0.0

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(f"{question}\n".encode())

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b""]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_draws += 1
        if self.n_draws % REFERENCE_EVERY == 0:
            self._time_reference()
        n_written = len(prefix_ids) - 1 - prefix_ids.index(10)
        which = prefix_hash(prefix_ids)[index % 16] & 15
        completion = self._completions.get((which, n_written))
        if completion is None:
            text = self._texts[which][n_written:]
            ids = (*text.encode(), EOS_ID)
            completion = Completion(
                ids, text, (0.0,) * len(ids), FinishReason.EOS, Usage(len(ids), len(prefix_ids))
            )
            self._completions[which, n_written] = completion
        await asyncio.sleep(0)  # as an engine does: others have their turn
        return completion

    def _time_reference(self) -> None:
        self.reference_seconds += N_REFERENCES * reference_seconds()
        self.n_references += N_REFERENCES


def reference_seconds(n: int = N_REFERENCES) -> float:
    """CPU seconds of the fixed piece of work, the mean of `n` times."""
    started = time.process_time()
    for _ in range(n):
        json.dumps(NUMBERS)
    return (time.process_time() - started) / n


def questions(n: int) -> Iterator[Problem]:
    return (
        Problem(f"p{number}", f"What is the answer to question {number:08d}?", "1") for number in range(n)
    )


def configs(run: Path) -> tuple[SampleConfig, LabelConfig]:
    return SampleConfig(run, ProblemSource(n=1), n_samples=4), LabelConfig(run=run)


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def scale(n_questions: int, folder: Path) -> dict[str, Any]:
    """Sample and label so many questions, in this process."""
    run = folder / f"scale-{n_questions}"
    write_records(run / "problems.jsonl", Problem, questions(n_questions))
    sampling, labeling = configs(run)
    policy = CheapPolicy()
    started, cpu_started = time.perf_counter(), time.process_time()
    with Ledger(run / "ledger.sqlite") as ledger:
        sample_run(run, n_questions, MeteredPolicy(policy), ledger, sampling)
        label_started, label_cpu_started = time.perf_counter(), time.process_time()
        label_run(run, n_questions, MeteredPolicy(policy), ledger, sampling, labeling)
    ended, cpu_ended = time.perf_counter(), time.process_time()
    labeled = LabelSummary.read(run / "label.json")
    n_labels = labeled.labels["True"] + labeled.labels["False"]
    n_draws = labeled.n_rollouts + 4 * n_questions
    reference = policy.reference_seconds / policy.n_references
    seconds_per_draw = (
        cpu_ended - cpu_started - policy.reference_seconds
    ) / n_draws - policy_and_grader_seconds()
    return {
        "n_questions": n_questions,
        "n_draws": n_draws,
        "n_labels": n_labels,
        "labels_per_second": round(n_labels / (ended - label_started)),
        "labels_per_cpu_second": round(n_labels / (cpu_ended - label_cpu_started)),
        "wall_seconds": round(ended - started, 1),
        "cpu_seconds": round(cpu_ended - cpu_started, 1),
        "cpu_microseconds_per_draw": round(1e6 * seconds_per_draw, 1),
        "reference_microseconds": round(1e6 * reference, 1),
        "references_per_draw": round(seconds_per_draw / reference, 3),
        "peak_mib": peak_mib(),
    }


def policy_and_grader_seconds(n: int = 20_000) -> float:
    """CPU seconds of one draw and its verdict without anything around them."""
    policy, grader, problem = CheapPolicy(), ArithmeticGrader(), next(questions(1))
    prompts = [policy.encode_prompt(each.question) for each in questions(n)]
    params = SamplingParams(256)

    async def draw_all() -> None:
        for index, prompt in enumerate(prompts):
            draw = await policy.sample(prompt, params, index)
            await grader.grade(problem, Solution("p", 0, draw.text, draw.finish_reason, draw.token_ids))

    started = time.process_time()
    asyncio.run(draw_all())
    return (time.process_time() - started - policy.reference_seconds) / n


def commands(n_questions: int, folder: Path) -> dict[str, Any]:
    """The real commands on the built-in task; ru_maxrss is that of the largest child, so each size has a
    process of its own.
    """
    run = folder / f"commands-{n_questions}"
    problems = ["--problems.n", str(n_questions), "--policy.model", "simulated", "--n_samples", "1"]
    facts: dict[str, Any] = {"n_questions": n_questions}
    for name, arguments in (
        ("sample", ["--output", str(run), *problems]),
        ("label", ["--run", str(run), "--n_rollouts", "2"]),
    ):
        subprocess.run(
            [sys.executable, "-m", f"data_gen.{name}", *arguments], check=True, stderr=subprocess.DEVNULL
        )
        facts[f"peak_mib_until_{name}"] = round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1
        )
    return facts


def engine(n_questions: int, folder: Path) -> dict[str, Any]:
    """Sample and label with a random network; the CPU inside the engine's batch is measured at its two
    methods.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from data_gen.models.tokenizer import train_tokenizer
    from data_gen.policies.engine.transformers_policy import TransformersPolicy

    tokenizer = train_tokenizer(
        [f"Step {i}: {i} times {i} is {i * i}.\n" for i in range(2000)], vocab_size=2000, context_length=512
    )
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,  # noqa: E501
        num_key_value_heads=8, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id, initializer_range=0.02,  # noqa: E501
    )  # fmt: skip
    model = LlamaForCausalLM(shape)
    policy = TransformersPolicy(model, tokenizer)
    in_engine = 0.0

    def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal in_engine
            started = time.process_time()
            result = method(*arguments)
            in_engine += time.process_time() - started
            return result

        return call

    batch: Any = policy._batch
    batch.step, batch.admit = clocked(batch.step), clocked(batch.admit)
    run = folder / "engine"
    write_records(run / "problems.jsonl", Problem, questions(n_questions))
    sampling = SampleConfig(run, ProblemSource(n=1), n_samples=4, max_new_tokens=160)
    metered = MeteredPolicy(policy)
    with Ledger(run / "ledger.sqlite") as ledger:
        started = time.process_time()
        sample_run(run, n_questions, metered, ledger, sampling)
        cpu_seconds = time.process_time() - started
    return {
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_draws": metered.n_draws,
        "tokens_per_draw": round(metered.n_generated / metered.n_draws, 1),
        "cpu_seconds": round(cpu_seconds, 2),
        "engine_cpu_seconds": round(in_engine, 2),
        "overhead_share_of_engine": round((cpu_seconds - in_engine) / in_engine, 4),
        "overhead_microseconds_per_draw": round(1e6 * (cpu_seconds - in_engine) / metered.n_draws, 1),
    }


def in_own_process(measure: Callable[[int, Path], dict[str, Any]], n_questions: int) -> dict[str, Any]:
    """A fresh process, so that the peak of its memory is its own."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
        facts = pool.apply(measure, (n_questions, Path(folder)))
    print(json.dumps(facts), flush=True)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=int, nargs="+", default=[400, 4_000, 40_000], help="questions")
    parser.add_argument("--commands", type=int, nargs="+", default=[10_000, 100_000], help="questions")
    parser.add_argument("--n-engine-questions", type=int, default=50)
    parser.add_argument(
        "--parts", nargs="+", default=["scale", "commands", "engine"], help="the others are left as they are"
    )
    arguments = parser.parse_args()
    plan: dict[str, Callable[[], Any]] = {
        "scale": lambda: [in_own_process(scale, size) for size in arguments.scale],
        "commands": lambda: [in_own_process(commands, size) for size in arguments.commands],
        "engine": lambda: in_own_process(engine, arguments.n_engine_questions),
    }
    for part in arguments.parts:
        figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        figures |= {
            "machine": f"{platform.machine()}, python {platform.python_version()}",
            part: plan[part](),
        }
        RESULT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
