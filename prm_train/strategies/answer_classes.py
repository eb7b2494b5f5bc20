"""Which candidates of a problem state the same answer, as its grader reads them: `W = 3` and `3` are one
candidate in a vote.

Answers with one `answer_key` are one class. The heaviest classes are then compared with each other by the
grader, which needs no gold answer for it; the rest, which no vote elects, are left as they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from data_gen.answers.vote_key import answer_key
from data_gen.records.grader import AnswerReader
from data_gen.records.solutions import Question
from prm_train.strategies.candidates import Candidate

N_COMPARED = 12  # heaviest classes


async def classify_answers(
    question: Question, candidates: Sequence[Candidate], reader: AnswerReader
) -> dict[str, str]:
    """By the key of an answer the key of its class, for the classes that were found to be another's; ties go
    to the earliest answer.
    """
    answers = [
        candidate.answer for candidate in candidates if candidate.answer is not None and candidate.is_finished
    ]
    first: dict[str, str] = {}
    for answer in answers:
        first.setdefault(answer_key(answer), answer)
    classes: dict[str, str] = {}
    leaders: list[str] = []
    for key, _ in Counter(map(answer_key, answers)).most_common(N_COMPARED):
        for leader in leaders:
            if await reader.is_same(question, first[leader], first[key]):
                classes[key] = leader
                break
        else:
            leaders.append(key)
    return classes


def with_classes(candidates: Sequence[Candidate], classes: dict[str, str]) -> tuple[Candidate, ...]:
    """The candidates with the class of their answer."""
    return tuple(
        candidate
        if candidate.answer is None
        else replace(candidate, answer_class=classes.get(key := answer_key(candidate.answer), key))
        for candidate in candidates
    )
