"""An ORM on real text: the 5,276 solutions that language models wrote for the GSM8K test questions, four a
question, right or wrong.

`PRM_TRAIN_DATA=… python -m benchmarks.gsm8k_orm` (about four minutes of one core) reads
samples/gsm8k_model_solutions.jsonl of openai/grade-school-math, splits it by question, trains with
`train-orm` from random weights (a Qwen2 of under a million parameters, tokenizer learnt from the training
text) and writes benchmarks/results/gsm8k_orm.json. The network reads English for the first time in 3,000
solutions: the figures show that the path works on real text, not what an ORM can do. Intervals are 95 %
bootstraps over test questions.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from data_gen.answers.find import find_answer
from data_gen.files.jsonl import read_jsonl
from data_gen.models.tokenizer import train_tokenizer
from data_gen.problems.layouts import question_id
from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import Problem
from data_gen.rows.layouts import OrmRow, write_rows
from prm_train.kinds.load import load_scorer
from prm_train.metrics.estimators import Interval, bootstrap_interval, paired_difference
from prm_train.metrics.ranking import auroc
from prm_train.metrics.training_report import TrainingReport
from prm_train.strategies.best_of_n import score_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import (
    best_of,
    has_correct,
    is_right,
    majority_vote,
    path_scores,
    weighted_vote,
)
from prm_train.train_orm import main as train_orm

RESULT = Path(__file__).parent / "results" / "gsm8k_orm.json"
WRITERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
TEST_SHARE = 0.4
RECIPE = {
    "max_length": 2048,
    "n_epochs": 3.0,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "head_dropout": 0.1,
    "batch_size": 8,
    "n_accumulated": 2,
    "use_cpu": "true",
}
Question = tuple[Problem, list[Candidate]]


def read_questions(path: Path) -> list[Question]:
    """Each question with its four solutions as candidates."""
    questions = []
    for _, fields in read_jsonl(path):
        problem = Problem(
            question_id(fields["question"]), fields["question"], find_answer(fields["ground_truth"]) or ""
        )
        written = [fields[writer] for writer in WRITERS]
        candidates = [
            Candidate(
                problem.problem_id, index, each["solution"], find_answer(each["solution"]), each["is_correct"]
            )
            for index, each in enumerate(written)
        ]
        questions.append((problem, candidates))
    return questions


def write_policy(folder: Path, training: Sequence[Question]) -> int:
    """A small random language model with a tokenizer learnt from the training questions; returns its number
    of parameters.
    """
    texts = [
        text
        for problem, candidates in training
        for text in (problem.question, *(each.text for each in candidates))
    ]
    tokenizer = train_tokenizer(texts, vocab_size=3000, context_length=2048)
    set_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=3,
            num_key_value_heads=1,
            intermediate_size=256,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.05,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def train(folder: Path, training: Sequence[Question]) -> TrainingReport:
    """Train an ORM into folder/orm; returns the report of the training."""
    write_rows(
        folder / "orm.jsonl",
        [
            OrmRow(problem.problem_id, problem.question, each.text, each.is_correct)
            for problem, some in training
            for each in some
        ],
    )
    settings = {"rows": folder / "orm.jsonl", "output": folder / "orm", "model": folder / "policy", **RECIPE}
    train_orm([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    return TrainingReport.read(folder / "orm" / "training" / "report.json")


async def score(folder: Path, test: Sequence[Question]) -> list[list[Candidate]]:
    scorer = load_scorer(str(folder))
    return [
        (await score_candidates(problem, candidates, scorer, "orm", "\n"))[0] for problem, candidates in test
    ]


def global_auroc(
    scored: Sequence[Sequence[Candidate]], rng: np.random.Generator, n_resamples: int = 500
) -> Interval:
    """AUROC over all solutions of all questions; resampled by question."""

    def area(chosen: Sequence[Sequence[Candidate]]) -> float:
        solutions = [each for candidates in chosen for each in candidates]
        found = auroc([each.scores["orm"][0] for each in solutions], [each.is_correct for each in solutions])
        assert found is not None
        return found

    areas = [
        area([scored[i] for i in rng.integers(len(scored), size=len(scored))]) for _ in range(n_resamples)
    ]
    low, high = np.percentile(areas, [2.5, 97.5])
    return Interval(area(scored), float(low), float(high))


def majority_in_any_order(candidates: Sequence[Candidate]) -> float:
    """Accuracy of a majority vote whose ties are broken at random: the writers have an order (the weakest
    first), draws have none.
    """
    return float(np.mean([is_right(majority_vote(order)) for order in permutations(candidates)]))


def measure(scored: Sequence[Sequence[Candidate]]) -> dict[str, object]:
    """AUROCs and the accuracy of each way to choose one of four."""
    rng = np.random.default_rng(0)
    choices: dict[str, Callable[[Sequence[Candidate]], float]] = {
        "random": lambda some: float(np.mean([each.is_correct for each in some])),
        "majority": majority_in_any_order,
        "orm_best_of_4": lambda some: is_right(best_of(some, path_scores(some, "orm", "last"))),
        "orm_weighted_4": lambda some: is_right(weighted_vote(some, path_scores(some, "orm", "last"))),
        "always_175b_verification": lambda some: some[-1].is_correct,
        "pass_at_4": has_correct,
    }
    right: dict[str, NDArray[np.float64]] = {
        name: np.array([float(choose(candidates)) for candidates in scored])
        for name, choose in choices.items()
    }
    within = [
        auroc([each.scores["orm"][0] for each in some], [each.is_correct for each in some]) for some in scored
    ]
    mixed = [area for area in within if area is not None]
    return {
        "n_test_questions": len(scored),
        "n_mixed_questions": len(mixed),
        "auroc": asdict(global_auroc(scored, rng)),
        "within_problem_auroc": asdict(bootstrap_interval(mixed, rng)),
        "accuracy": {name: asdict(bootstrap_interval(values, rng)) for name, values in right.items()},
        "orm_best_of_4_minus_random": asdict(paired_difference(right["orm_best_of_4"], right["random"], rng)),
        "orm_best_of_4_minus_majority": asdict(
            paired_difference(right["orm_best_of_4"], right["majority"], rng)
        ),
        "orm_weighted_4_minus_majority": asdict(
            paired_difference(right["orm_weighted_4"], right["majority"], rng)
        ),
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    started, cpu_started = time.perf_counter(), time.process_time()
    questions = read_questions(Path(os.environ["PRM_TRAIN_DATA"]) / "samples" / "gsm8k_model_solutions.jsonl")
    is_test = [
        derive_seed("gsm8k orm test", problem.question) % 1000 < 1000 * TEST_SHARE for problem, _ in questions
    ]
    training = [question for question, for_test in zip(questions, is_test, strict=True) if not for_test]
    test = [question for question, for_test in zip(questions, is_test, strict=True) if for_test]
    with TemporaryDirectory() as name:
        folder = Path(name)
        n_parameters = write_policy(folder / "policy", training)
        report = train(folder, training)
        scored = asyncio.run(score(folder / "orm", test))
    cost = {
        "wall_seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
    }
    result = {
        "data": "samples of openai/grade-school-math: four models' solutions of the GSM8K test questions",
        "n_training_questions": len(training),
        "n_parameters": n_parameters,
        "recipe": RECIPE,
        "training": {
            name: asdict(report)[name]
            for name in ("n_training_rows", "n_training_tokens", "left_out", "validation", "cost")
        },
        **measure(scored),
        "cost": cost,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "training"}, indent=1))


if __name__ == "__main__":
    main()
