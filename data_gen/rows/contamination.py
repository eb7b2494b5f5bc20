r"""Whether training questions are in a test set: the same text but for case, blanks and LaTeX layout, or most
of its n-grams.

    train  The points $(0,0)\,$, $(a,11)\,$, and $(b,37)\,$ are the vertices ...
    test   The points $(0, 0)$, $(a, 11)$, and $(b, 37)$ are the vertices ...            exact: equal after
           normalisation
    test   "A new question whose preamble and drawing are those of a training question"  overlap: a share of
           its n-grams

The overlap is the share of the test question's n-grams that the training question holds, so a test question
quoted inside a longer text is found; questions of fewer than n words match exactly or not at all. Templates
filled with other numbers share many n-grams too: the matches are reported with both texts, to be judged.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from data_gen.files.jsonl import read_objects
from data_gen.records.draw_keys import content_hash
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError

QUESTION_FIELDS = ("question", "problem", "prompt")

_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|q?quad)(?![a-z])"
    r"|\\[!,;: ()\[\]]|~|[${}]"
)
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
_WORD = re.compile(r"\\?[^\W\d_]+|\d+(?:\.\d+)?|[^\s\w.,;:?!'\"]")


@dataclass(frozen=True)
class ContaminationSettings:
    """Test sets whose questions training must not see."""

    test_sets: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "test sets to compare the questions with: name=path of JSONL or JSON files, as "
            "math500=math/math500.jsonl,..."
        },
    )
    n_gram: Annotated[int, Ge(1)] = field(default=8, metadata={"help": "number of words of an n-gram"})
    min_overlap: Annotated[float, Interval(gt=0, le=1)] = field(
        default=0.8,
        metadata={
            "help": "two questions match if the training question holds at least this share of the test "
            "question's n-grams"
        },
    )
    drop: bool = field(
        default=True, metadata={"help": "leave out the questions that match; false: report them only"}
    )

    def __post_init__(self) -> None:
        for entry in self.test_sets:
            name, equals, path = entry.partition("=")
            if not (name and equals and path):
                raise ValueError(f"test_sets: got {entry!r}, expected name=path")
        if len(self.paths) != len(self.test_sets):
            raise ValueError(f"test_sets: got {', '.join(self.test_sets)}, expected each name once")

    @property
    def paths(self) -> dict[str, Path]:
        """Name of each test set and its file."""
        return {name: Path(path) for name, _, path in (entry.partition("=") for entry in self.test_sets)}


@dataclass(frozen=True)
class Match:
    """A training question and the test question that it is or mostly holds; `position` counts the test set's
    questions from 0.
    """

    problem_id: str
    test_set: str
    position: int
    kind: Literal["exact", "overlap"]
    overlap: float
    question: str
    test_question: str


def words(question: str) -> tuple[str, ...]:
    """The words, numbers and signs of a question, without case, blanks, punctuation and LaTeX layout: what
    two copies share.
    """
    text = unicodedata.normalize("NFKC", question).casefold()
    return tuple(_WORD.findall(_FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", text))))


def question_key(question: str) -> str:
    """Equal for two copies of one question: a hash of its words."""
    return content_hash("question", " ".join(words(question)))


@dataclass(frozen=True)
class TestSetMatches:
    """The questions of a test set, and how many problems match one of them exactly or by overlap."""

    __test__ = False  # no test for pytest

    n_questions: int
    n_exact: int
    n_overlap: int


class TestSets:
    """The questions of named test sets, indexed by their words and n-grams."""

    __test__ = False  # no test for pytest

    def __init__(self, questions: Mapping[str, Sequence[str]], n_gram: int) -> None:
        self._n_gram = n_gram
        self._questions = [
            (name, position, text) for name, some in questions.items() for position, text in enumerate(some)
        ]
        self._by_key: dict[str, list[int]] = defaultdict(list)
        self._by_gram: dict[int, list[int]] = defaultdict(list)
        self._n_grams: list[int] = []
        for number, (_, _, text) in enumerate(self._questions):
            self._by_key[question_key(text)].append(number)
            grams = self._grams(text)
            self._n_grams.append(len(grams))
            for gram in grams:
                self._by_gram[gram].append(number)

    def matches(self, problem: Problem, min_overlap: float) -> list[Match]:
        """In each test set the question that matches best: an exact copy, else the highest overlap of
        `min_overlap` or more.
        """
        overlaps = {number: 1.0 for number in self._by_key.get(question_key(problem.question), ())}
        exact = set(overlaps)
        shared = Counter(
            number for gram in self._grams(problem.question) for number in self._by_gram.get(gram, ())
        )
        for number, n_shared in shared.items():
            overlap = n_shared / self._n_grams[number]
            if overlap >= min_overlap and number not in exact:
                overlaps[number] = overlap
        best: dict[str, int] = {}
        for number in sorted(overlaps, key=lambda number: (number not in exact, -overlaps[number], number)):
            best.setdefault(self._questions[number][0], number)
        return [
            self._match(problem, number, "exact" if number in exact else "overlap", overlaps[number])
            for number in best.values()
        ]

    def _match(
        self, problem: Problem, number: int, kind: Literal["exact", "overlap"], overlap: float
    ) -> Match:
        name, position, text = self._questions[number]
        return Match(problem.problem_id, name, position, kind, round(overlap, 3), problem.question, text)

    def _grams(self, text: str) -> set[int]:
        """Hashes of the n-grams; they never leave this process."""
        found = words(text)
        return {hash(found[start : start + self._n_gram]) for start in range(len(found) - self._n_gram + 1)}


def find_contamination(
    problems: Iterable[Problem], settings: ContaminationSettings
) -> tuple[list[Match], dict[str, TestSetMatches]]:
    """All matches, and their counts by test set."""
    questions = {name: list(read_questions(path)) for name, path in settings.paths.items()}
    test_sets = TestSets(questions, settings.n_gram)
    matches = [match for problem in problems for match in test_sets.matches(problem, settings.min_overlap)]
    kinds = Counter((match.test_set, match.kind) for match in matches)
    summary = {
        name: TestSetMatches(len(some), kinds[name, "exact"], kinds[name, "overlap"])
        for name, some in questions.items()
    }
    return matches, summary


def read_questions(path: Path) -> Iterator[str]:
    """The questions of a JSONL file or a JSON list: of each row the first of the fields question, problem and
    prompt that is text.
    """
    for line, fields in read_objects(path):
        question = next((fields[name] for name in QUESTION_FIELDS if isinstance(fields.get(name), str)), None)
        if question is None:
            raise InputError(
                f"{path}:{line}: no text in field {', '.join(QUESTION_FIELDS)}; fields present: "
                f"{', '.join(fields)}"
            )
        yield question
