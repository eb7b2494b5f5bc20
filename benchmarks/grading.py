"""Our verdicts against plain math-verify, and hostile answers: `PRM_TRAIN_DATA=folder python -m
benchmarks.grading` (about 20 minutes).

Speed: from the full text of a solution to the verdict, one after the other, on the 5,276 published GSM8K
model solutions, 800 Qwen2.5-Math samples and the 500 reference solutions of MATH-500. Contenders take turns
in one process on one core, each with cold caches; imports and the start of our worker process are not
counted. Plain math-verify is `verify(parse(f"${gold}$"), parse(text))` with the defaults of both.

Agreement: our verdicts against the stored labels of each set. Hostile: generated answers
(tests/hostile_answers.py) with a short limit; a hang is a verdict that took 2 seconds longer than the limit.
Writes benchmarks/results/grading.json.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.answers.equality import compare_exactly
from data_gen.answers.find import find_answer
from data_gen.answers.notation import MAX_ANSWER_LENGTH, read_answer
from data_gen.answers.vote_key import answer_key
from data_gen.grading.graders import MathGrader
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import INCORRECT, Verdict
from tests.hostile_answers import hostile_solutions

OUTPUT = Path(__file__).parent / "results" / "grading.json"
HOSTILE_LIMIT_SECONDS = 0.25
HANG_SECONDS = HOSTILE_LIMIT_SECONDS + 2.0


@dataclass(frozen=True)
class Case:
    """A solution and whether its publisher calls it correct."""

    gold_answer: str
    text: str
    is_correct: bool


def gsm8k_cases(data: Path) -> list[Case]:
    cases = []
    for line in (data / "samples" / "gsm8k_model_solutions.jsonl").read_text().splitlines():
        row = json.loads(line)
        gold = find_answer(row["ground_truth"]) or ""
        models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
        cases += [Case(gold, row[model]["solution"], row[model]["is_correct"]) for model in models]
    return cases


def qwen_cases(data: Path) -> list[Case]:
    rows = [
        json.loads(line) for line in (data / "samples" / "qwen_math_cot_100.jsonl").read_text().splitlines()
    ]
    return [
        Case(row["gt"], text, is_correct)
        for row in rows
        for text, is_correct in zip(row["code"], row["score"], strict=True)
    ]


def math500_cases(data: Path) -> list[Case]:
    rows = [json.loads(line) for line in (data / "math" / "math500.jsonl").read_text().splitlines()]
    return [Case(row["answer"], row["solution"], True) for row in rows]


def said(verdict: Verdict) -> str:
    return verdict.reason if verdict.is_unknown else verdict.kind.value


# --- speed


def grade_all(grader: MathGrader, cases: Sequence[Case]) -> list[Verdict]:
    async def grade() -> list[Verdict]:
        return [
            (await grader.grade(Problem("p", "", case.gold_answer), Solution("p", 0, case.text))).verdict
            for case in cases
        ]

    return asyncio.run(grade())


def time_ours(cases: Sequence[Case]) -> tuple[float, list[Verdict]]:
    """Seconds with a new grader whose worker has started and has done no work."""
    read_answer.cache_clear()
    answer_key.cache_clear()
    grader = MathGrader(n_workers=1)
    grader.compare("x+1", "y+2")
    started = time.perf_counter()
    verdicts = grade_all(grader, cases)
    seconds = time.perf_counter() - started
    grader.close()
    return seconds, verdicts


def time_math_verify(cases: Sequence[Case]) -> tuple[float, list[bool]]:
    from math_verify import parse, verify
    from sympy.core.cache import clear_cache

    clear_cache()
    started = time.perf_counter()
    verdicts = [bool(verify(parse(f"${case.gold_answer}$"), parse(case.text))) for case in cases]
    return time.perf_counter() - started, verdicts


def measure_speed(sets: dict[str, list[Case]], n_rounds: int) -> dict[str, Any]:
    """Verdicts per second of each on each set, and of both sets of samples together: medians of the
    rounds.
    """
    core = min(os.sched_getaffinity(0))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # workers inherit it
    time_math_verify(sets["math500"][:20])  # imports
    sets = {"gsm8k_and_qwen": sets["gsm8k"] + sets["qwen"], "math500": sets["math500"]}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sets}
    for _ in range(n_rounds):
        for name, cases in sets.items():
            ours, theirs = time_ours(cases)[0], time_math_verify(cases)[0]
            rates[name].append((len(cases) / ours, len(cases) / theirs))
    os.sched_setaffinity(0, cores)
    facts: dict[str, Any] = {}
    for name, pairs in rates.items():
        prefix = "" if name == "gsm8k_and_qwen" else f"{name}_"
        facts[f"{prefix}verdicts_per_second_ratio"] = round(
            statistics.median(ours / theirs for ours, theirs in pairs), 1
        )
        facts[f"{prefix}ours_per_second"] = round(statistics.median(ours for ours, _ in pairs))
        facts[f"{prefix}math_verify_per_second"] = round(statistics.median(theirs for _, theirs in pairs))
    return facts


# --- agreement


def measure_agreement(sets: dict[str, list[Case]]) -> dict[str, Any]:
    """Per set: verdicts equal to the label, different ones, unknowns by reason; and math-verify's equal
    ones.
    """
    agreement = {}
    for name, cases in sets.items():
        counts: Counter[str] = Counter()
        for case, verdict in zip(cases, time_ours(cases)[1], strict=True):
            counts[
                said(verdict)
                if verdict.is_unknown
                else "equal"
                if verdict.is_correct == case.is_correct
                else "different"
            ] += 1
        theirs = sum(
            verdict == case.is_correct
            for case, verdict in zip(cases, time_math_verify(cases)[1], strict=True)
        )
        agreement[name] = {"n": len(cases), **dict(sorted(counts.items())), "math_verify_equal": theirs}
    return agreement


# --- hostile answers


def measure_hostile(n_hostile: int, n_at_once: int, seed: int) -> dict[str, Any]:
    """Verdicts, the slowest one and peak memory of a process, over generated answers.

    None of the answers equals its gold answer: what is not unknown must be incorrect, by exact rules or by
    algebra that ended in time.
    """
    grader = MathGrader(timeout_seconds=HOSTILE_LIMIT_SECONDS, n_workers=n_at_once)

    def grade(case: tuple[str, str]) -> tuple[str, float]:
        started = time.perf_counter()
        graded = asyncio.run(grader.grade(Problem("p", "", case[0]), Solution("p", 0, case[1])))
        return said(graded.verdict), time.perf_counter() - started

    with ThreadPoolExecutor(n_at_once) as threads:
        # All workers have started
        list(threads.map(grade, [("5", rf"\boxed{{9^{{9^{{{i}}}}}}}") for i in range(9, 9 + 4 * n_at_once)]))
        grader.compare("5 feet", "5 inches")  # and the registry of units is read
        results = list(threads.map(grade, hostile_solutions(seed, n_hostile)))
    answers = ((gold, find_answer(text)) for gold, text in hostile_solutions(seed, n_hostile))
    by_rules = Counter(
        answer is not None and len(answer) <= MAX_ANSWER_LENGTH and compare_exactly(gold, answer)
        for gold, answer in answers
    )
    grader.close()
    peaks = [
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {
        "n_hostile": n_hostile,
        "hangs": sum(seconds > HANG_SECONDS for _, seconds in results),
        "hostile_verdicts": dict(sorted(Counter(verdict for verdict, _ in results).items())),
        "incorrect_by_exact_rules": by_rules[INCORRECT],
        "limit_seconds": HOSTILE_LIMIT_SECONDS,
        "max_seconds": round(max(seconds for _, seconds in results), 2),
        "max_rss_mib": round(peaks[1]),
        "max_rss_mib_of_the_caller": round(peaks[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hostile", type=int, default=10_000, help="generated hostile answers")
    parser.add_argument("--at-once", type=int, default=2, help="hostile answers graded at a time")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()

    data = Path(os.environ["PRM_TRAIN_DATA"])
    readers: dict[str, Callable[[Path], list[Case]]] = {
        "gsm8k": gsm8k_cases,
        "qwen": qwen_cases,
        "math500": math500_cases,
    }
    sets = {name: read(data) for name, read in readers.items()}
    # First, while this process is small
    facts = measure_hostile(arguments.hostile, arguments.at_once, seed=1)
    facts = measure_speed(sets, arguments.rounds) | {"agreement": measure_agreement(sets)} | facts
    from data_gen.process.machine import machine_name

    facts["machine"] = machine_name()
    arguments.output.write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
