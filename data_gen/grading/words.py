"""Graders of answers that are no mathematics: `exact` (letter by letter) and `choice` (the letter of an
option).
"""

import re

from data_gen.answers.choices import letter_of, read_choice, read_options
from data_gen.answers.find import find_answer
from data_gen.answers.layout import plain
from data_gen.grading.source_hash import source_hash
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

_LETTER_ALONE = re.compile(r"\W*\(?([A-J])\)?\W*")


class ExactGrader:
    """The stated answer against the gold answer letter by letter, case and inner blanks included; for tasks
    about words and strings.

    Unknown: no_answer and truncated.
    """

    def __init__(self) -> None:
        self.grader_version = f"exact {source_hash(ExactGrader, 'data_gen.answers.find')}"

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        answer, missing = _stated(solution)
        if answer is None:
            return GradedSolution(solution, None, missing)
        return GradedSolution(
            solution, answer, CORRECT if _bare(answer) == _bare(problem.gold_answer) else INCORRECT
        )

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        return _stated(solution)[0]

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return _bare(one) == _bare(other)


class ChoiceGrader:
    """The letter of the chosen option; a text without a letter counts as the option of the question that
    reads so.

    Unknown: no_answer, truncated, choice_text (no letter, and no option with this text alone), and
    unparsable_gold where the gold answer is neither a letter nor the text of one option.
    """

    def __init__(self) -> None:
        self.grader_version = (
            f"choice {source_hash(ChoiceGrader, 'data_gen.answers.find', 'data_gen.answers.choices')}"
        )

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        options = read_options(problem.question)
        gold = _letter(problem.gold_answer, options)
        answer = self.read_answer(problem, solution)
        if answer is None:
            return GradedSolution(solution, None, _stated(solution)[1])
        letter = _letter(answer, options)
        if gold is None or letter is None:
            return GradedSolution(solution, answer, unknown("choice_text" if gold else "unparsable_gold"))
        return GradedSolution(solution, answer, CORRECT if letter == gold else INCORRECT)

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        answer, missing = _stated(solution)
        if answer is None and missing.reason == "no_answer":
            alone = _LETTER_ALONE.fullmatch(solution.text)
            return alone and alone[1]
        return answer

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        options = read_options(question.question)
        letters = _letter(one, options), _letter(other, options)
        return letters[0] == letters[1] if all(letters) else plain(one) == plain(other)


def _stated(solution: Solution) -> tuple[str | None, Verdict]:
    is_truncated = solution.finish_reason is FinishReason.LENGTH
    return find_answer(solution.text, is_truncated), unknown("truncated" if is_truncated else "no_answer")


def _letter(answer: str, options: dict[str, str]) -> str | None:
    choice = read_choice(plain(answer))
    return choice[0] if choice is not None else letter_of(answer, options)


def _bare(answer: str) -> str:
    """Without what frames an answer: blanks around it, emphasis, quotes, a LaTeX text command, the point that
    ends the sentence.
    """
    text = re.sub(
        r"^\\(?:text|textbf|mathrm|mbox)\s*\{(.*)\}$",
        r"\1",
        answer.strip().strip("$").strip(),
        flags=re.DOTALL,
    )
    return text.strip().removesuffix(".").strip("*\"'“”‘’`").strip()
