"""The frozen records that pass between stages. A later stage wraps an earlier record, it never fills fields of it."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that is a pure function of its parts, in every process (unlike `hash`)."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def content_hash(*parts: object) -> str:
    """32 hex digits of the sha256 of the JSON of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Problem:
    """A question and the answer that is known for it. `problem_id` is unique in a data set."""

    problem_id: str
    question: str
    gold_answer: str


class VerdictKind(StrEnum):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """What a grader says of a whole answer; an unknown verdict names its reason and is never a negative label."""

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
    """Reasons: no_answer, truncated, unparsable, timeout, ambiguous."""
    return Verdict(VerdictKind.UNKNOWN, reason)
