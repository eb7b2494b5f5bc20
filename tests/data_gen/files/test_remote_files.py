"""Files in object storage: fsspec's own in memory stands for any."""

import fsspec
import pytest

from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.settings.errors import InputError


def test_problems_are_read_from_a_url():
    fsspec.filesystem("memory").pipe(
        "/bucket/problems.jsonl", b'{"problem": "1 + 1?", "answer": "2"}\n{"problem": "?"}\n'
    )
    source = ProblemSource("memory://bucket/problems.jsonl")
    with pytest.raises(InputError, match=r"^memory://bucket/problems.jsonl:2: "):
        load_problems(source)
    fsspec.filesystem("memory").pipe("/bucket/problems.jsonl", b'{"problem": "1 + 1?", "answer": "2"}\n')
    assert [(each.question, each.gold_answer) for each in load_problems(source)] == [("1 + 1?", "2")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("memory://bucket/none.jsonl", "FileNotFoundError"),
        ("nosuch://bucket/problems.jsonl", "Protocol not known: nosuch"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_name(name: str, said: str):
    with pytest.raises(InputError, match=f"^{name}: .*{said}"):
        load_problems(ProblemSource(name))
