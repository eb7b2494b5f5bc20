"""`prm-train solve`: answers to questions that nobody has graded, each with its share of the vote, its steps
and their scores, and what it cost.

One question is answered on the terminal. Questions from a file are answered side by side, into a run folder
that an interrupted command goes on with.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from data_gen.files.jsonl import read_objects, write_text
from data_gen.files.result_tables import counted, result_table, token_words
from data_gen.files.run_folder import for_each, read_records
from data_gen.files.run_identity import check_run, claim_run
from data_gen.ledger.store import IN_MEMORY, Ledger, has_draws
from data_gen.problems.layouts import question_id
from data_gen.problems.row_fields import joined_text
from data_gen.records.draw_keys import content_hash
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Question
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.scoring.ensemble import scorer_ids
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.answer import Answer, EstimatedDifficulty, RouteTaken
from prm_train.search.budget import Spent
from prm_train.search.solve import load_solver
from prm_train.search.solve_settings import SolverConfig

logger = logging.getLogger(__name__)
QUESTION_FIELDS = ("question", "problem", "prompt")
ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class SolveConfig(SolverConfig):
    """Answer questions with a policy and a scorer; no gold answer is needed."""

    question: str | None = field(default=None, metadata={"help": "a question to answer on the terminal"})
    questions: Path | None = field(
        default=None,
        metadata={"is_input": True, "help": ".jsonl or .json file with a question in each row"},
    )
    question_field: str | None = field(
        default=None,
        metadata={"help": f"name of the field with the question; null: {', '.join(QUESTION_FIELDS)}"},
    )
    id_field: str | None = field(
        default=None,
        metadata={"help": "name of the field with a unique id; null: a hash of the question"},
    )
    output: Path | None = field(
        default=None,
        metadata={"help": "run folder for the answers; needed with questions", "is_execution": True},
    )
    trace: bool = field(
        default=False,
        metadata={"help": "keep every step that a search in a tree drew, for `prm-train show-tree`"},
    )

    def __post_init__(self) -> None:
        if (self.question is None) == (self.questions is None):
            raise ValueError("question, questions: expected one of them")
        if self.output is None and (self.questions is not None or self.trace):
            raise ValueError(
                f"output: got null with {'questions' if self.questions else 'trace'}, expected a run folder"
            )
        super().__post_init__()


def read_questions(config: SolveConfig) -> Iterator[Question]:
    """Each question once. Raises InputError for a row without one, and an id that comes twice."""
    if config.questions is None:
        assert config.question is not None
        yield Question(question_id(config.question), config.question)
        return
    places: dict[str, str] = {}
    for number, fields in read_objects(config.questions):
        where = f"{config.questions}:{number}"
        name = config.question_field or next((each for each in QUESTION_FIELDS if each in fields), None)
        if name is None:
            raise InputError(
                f"{where}: no field {', '.join(QUESTION_FIELDS)}; fields present: {', '.join(fields)}; "
                "question_field names another"
            )
        text = joined_text(fields, name, where)
        if not text:
            raise InputError(f"{where}: the question is empty")
        name = joined_text(fields, config.id_field, where) if config.id_field else question_id(text)
        if name in places and config.id_field is None:
            continue  # the same question again
        if name in places:
            raise InputError(f"{where}: id {name!r} stands at {places[name]}, too; expected each once")
        places[name] = where
        yield Question(name, text)


def answer_on_terminal(config: SolveConfig, question: Question) -> None:
    policy, scorer = config.policy.load(), config.load_scorer()
    with Ledger(IN_MEMORY) as ledger:
        large = config.load_large_policy()
        solver = load_solver(config, policy, scorer, ledger, is_traced=config.trace, large_policy=large)
        answer = asyncio.run(solver.solve(question))
    sys.stdout.write(answer_table(answer) + "\n")


def answer_into_folder(config: SolveConfig, folder: Path, questions: list[Question]) -> list[Answer]:
    """All answers, those of earlier processes included, in the order of the questions."""
    path, ledger_path, adapter = folder / ANSWERS, folder / "ledger.sqlite", TypeAdapter(Answer)
    is_begun = path.exists() or has_draws(ledger_path)
    check_run(folder, config, is_begun=is_begun)
    policy, scorer = config.policy.load(), config.load_scorer()
    models = {"policy": policy.policy_id, **(scorer_ids("scorer", scorer) if scorer else {})}
    large = config.load_large_policy()
    if large is not None:
        models["large"] = large.policy_id
    for name, file in (("allocation", config.allocation), ("router", config.router)):
        if file is not None:
            models[name] = content_hash(file.read_text())
    with Ledger(ledger_path) as ledger:
        claim_run(folder, config, models, is_begun=is_begun)
        done = {answer.question_id: answer for answer in _whole_answers(path)}
        solver = load_solver(config, policy, scorer, ledger, is_traced=config.trace, large_policy=large)
        with path.open("a") as opened:

            async def one(question: Question) -> None:
                answer = await solver.solve(question)
                ledger.commit()  # its draws are durable before the file names it
                opened.write(adapter.dump_json(answer).decode() + "\n")
                opened.flush()
                done[question.problem_id] = answer

            rest = [question for question in questions if question.problem_id not in done]
            asyncio.run(for_each(rest, one, what="solve", unit="questions", at_once=64))
    return [done[question.problem_id] for question in questions]


def _whole_answers(path: Path) -> list[Answer]:
    """What a file holds; a last line that a killed process cut short is taken out of it."""
    if not path.exists():
        return []
    text = path.read_text()
    if not text.endswith("\n"):
        write_text(path, text[: text.rfind("\n") + 1])
    return list(read_records(path, Answer))


def answer_table(answer: Answer) -> str:
    """One answer for a person."""
    others = "; ".join(f"{text} ({share:.0%})" for text, share in answer.shares.items())
    rows = {
        "answer": answer.answer if answer.answer is not None else f"none: {answer.unsolved}",
        "confidence": f"{answer.confidence:.2f} by {answer.strategy}, N = {answer.n}"
        if answer.answer
        else "",
        "votes": others,
        "route": route_words(answer.route) if answer.route else "",
        "difficulty": difficulty_words(answer.difficulty) if answer.difficulty else "",
        "stopped by": f"{answer.stopped}; {answer.n_voters} of {answer.n} vote" if answer.stopped else "",
        "spent": spent_words(answer.spent) if answer.spent else "",
        "policy's tokens": token_words(answer.cost.policy),
        "scorer's tokens": f"{answer.cost.scorer.n_new:,}" if answer.cost.scorer.n_new else "",
    }
    scores = [f"{score:.2f}" for score in answer.scores]
    scores = [""] * (len(answer.steps) - len(scores)) + scores  # an ORM's stands at the end
    steps = [f"  {score:>4}  {step}" for score, step in zip(scores, answer.steps, strict=True)]
    return "\n".join([*steps, *([""] if steps else []), result_table(rows)])


def difficulty_words(difficulty: EstimatedDifficulty) -> str:
    return f"pass@1 of about {difficulty.pass_at_1:.0%}, bin {difficulty.bin} (0 is the easiest)"


def route_words(route: RouteTaken) -> str:
    why = {
        "untried": "no question gets a single sample",
        "sure": f"one sample, which scored {route.score or 0:.2f}",
        "hard": "the question looked too hard for one sample",
        "unsure": f"one sample scored only {route.score or 0:.2f}",
        "unanswered": "one sample stated no answer",
        "disputed": f"its answer had a confidence of {route.confidence or 0:.2f}, so the large one answered",
    }
    searches = f"; {route.n_searches} searches" if (route.n_searches or 0) > 1 else ""
    return f"{route.path}: {why[route.reason]}{searches}"


def spent_words(spent: Spent) -> str:
    words = [f"{spent.tokens:,} tokens", f"{spent.seconds:.1f} s"]
    words += [f"{spent.flops:.3g} FLOPs"] if spent.flops is not None else []
    words += [f"{spent.money:.4g} of money"] if spent.money is not None else []
    return ", ".join(words)


def summary_table(answers: Sequence[Answer], path: Path) -> str:
    policy = sum((answer.cost.policy for answer in answers), Usage())
    scorer = sum((answer.cost.scorer for answer in answers), ScorerUsage())
    n_answered = sum(answer.answer is not None for answer in answers)
    confidences = sorted(answer.confidence for answer in answers if answer.answer is not None)
    stopped = Counter(answer.stopped for answer in answers if answer.stopped is not None)
    rows = {
        "questions": f"{len(answers):,}, {n_answered:,} with an answer",
        "stopped by": counted(stopped),
        "confidence": f"{confidences[len(confidences) // 2]:.2f} in the middle" if confidences else "",
        "policy's tokens": token_words(policy),
        "scorer's tokens": f"{scorer.n_new:,}",
        "routes": counted(Counter(each.route.path for each in answers if each.route is not None)),
        "answers": str(path),
    }
    return result_table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(SolveConfig, argv)
    config.check()
    questions = list(read_questions(config))
    if not questions:
        raise InputError(f"{config.questions}: no question in it")
    if config.output is None:
        answer_on_terminal(config, questions[0])
        return
    answers = answer_into_folder(config, config.output, questions)
    if config.question is not None:
        sys.stdout.write(answer_table(answers[0]) + "\n\n")
    sys.stdout.write(summary_table(answers, config.output / ANSWERS) + "\n")


if __name__ == "__main__":
    run_command(main, "solve")
