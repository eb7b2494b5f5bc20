import sys
from pathlib import Path

import pytest

from data_gen.grading.graders import MATH_MODULES, MathGrader
from data_gen.grading.source_hash import own_sources, source_hash
from data_gen.problems.arithmetic.grader import ArithmeticGrader


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`judge.verdict` imports `judge.rules`, whose words are a module of its own, and other packages."""
    files = {
        "__init__.py": "",
        "verdict.py": "import json\nimport pytest\nfrom judge import rules\n",
        "rules/__init__.py": "from .words import WORDS\n",
        "rules/words.py": "import judge.verdict\nWORDS = 1\n",
        "unrelated.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "judge" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "judge"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path / "judge"


def test_sources_are_those_that_are_imported_from_the_own_package(package: Path) -> None:
    assert set(own_sources("judge.verdict")) == {"judge", "judge.verdict", "judge.rules", "judge.rules.words"}
    assert own_sources("judge.unrelated") == {"judge.unrelated": b""}
    with pytest.raises(ModuleNotFoundError, match=r"judge\.nowhere: expected a module in a Python file"):
        own_sources("judge.nowhere")


def test_the_hash_is_that_of_the_class_and_of_every_source(package: Path) -> None:
    hashes = [source_hash(MathGrader, "judge.verdict"), source_hash(ArithmeticGrader, "judge.verdict")]
    for name in ("verdict.py", "rules/__init__.py", "rules/words.py"):
        with (package / name).open("a") as file:
            file.write("# edited\n")
        hashes.append(source_hash(MathGrader, "judge.verdict"))
    assert len(set(hashes)) == 5
    (package / "unrelated.py").write_text("# edited\n")
    assert source_hash(MathGrader, "judge.verdict") == hashes[-1]


def test_verdicts_on_mathematics_depend_on_all_that_reads_and_compares_answers() -> None:
    subjects = (
        "choices",
        "clocks",
        "equality",
        "equations",
        "expressions",
        "final_sentence",
        "find",
        "layout",
        "lists",
        "notation",
        "number_words",
    )
    answers = {
        f"data_gen.answers.{subject}" for subject in (*subjects, "numbers", "units", "vote_key", "words")
    }
    others = {"data_gen.records.verdicts", "data_gen.grading.pool_worker"}
    assert set(own_sources(*MATH_MODULES)) == answers | others


@pytest.mark.parametrize(
    "module",
    [*MATH_MODULES, "data_gen.answers.choices", "data_gen.grading.program"],
)
def test_verdicts_do_not_depend_on_how_answers_were_sampled(module: str) -> None:
    assert "data_gen.records.sampling" not in own_sources(module)


def test_verdicts_on_programs_depend_on_their_sandbox() -> None:
    assert "data_gen.grading.program_sandbox" in own_sources("data_gen.grading.program")
