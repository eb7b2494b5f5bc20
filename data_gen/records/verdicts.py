"""What a grader says of an answer. It imports no other record: a grader's version is a hash of what decides
its verdict (data_gen/grading/source_hash.py), and settings of sampling or labels do not.
"""

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """What a grader says of a whole answer; an unknown verdict names its reason and is never a negative
    label.
    """

    kind: VerdictKind
    reason: str = ""

    @property
    def is_correct(self) -> bool:
        return self.kind is VerdictKind.CORRECT

    @property
    def is_unknown(self) -> bool:
        return self.kind is VerdictKind.UNKNOWN


CORRECT = Verdict(VerdictKind.CORRECT)
INCORRECT = Verdict(VerdictKind.INCORRECT)


def unknown(reason: str) -> Verdict:
    """Reasons: no_answer, truncated, too_long, ambiguous, rounded_gold, choice_text, assumptions, unparsable,
    unparsable_gold, timeout, memory, crash, undecided, no_room.
    """
    return Verdict(VerdictKind.UNKNOWN, reason)
