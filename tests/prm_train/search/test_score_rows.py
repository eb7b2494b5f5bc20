"""The command `score`: rows of several layouts, steps beyond the context, and a file that was cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_gen.settings.errors import InputError
from prm_train.search import score_rows
from prm_train.search.score_rows import ScoreConfig, main
from tests.prm_train.test_public_api import length_scorer


def write_rows(path: Path, *rows: dict[str, Any]) -> ScoreConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ScoreConfig(path, "unused", path.with_name("scored.jsonl"))


def scores(config: ScoreConfig) -> list[Any]:
    return [json.loads(line)["scores"] for line in config.output.read_text().splitlines()]


def test_steps_and_texts_are_scored_and_the_rows_keep_their_fields(tmp_path: Path) -> None:
    config = write_rows(
        tmp_path / "rows.jsonl",
        {"question": "q", "steps": ["four", "six..."], "id": 7},
        {"problem": "q", "solution": "four\nsix...\n"},
        {"prompt": "q", "completions": ["four"]},
    )
    score_rows.score_rows(config, length_scorer(scores_steps=True))
    assert scores(config) == [[0.04, 0.1], [0.04, 0.1], [0.04]]
    assert json.loads(config.output.read_text().splitlines()[0])["id"] == 7
    score_rows.score_rows(config, length_scorer(scores_steps=False))
    assert scores(config) == [[0.1], [0.1], [0.04]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "scored.jsonl"]


def test_an_interrupted_scoring_goes_on_unless_rows_or_scorer_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_rows, "N_AT_ONCE", 1)
    rows = [{"question": "q", "steps": ["x" * (n + 1)]} for n in range(4)]
    config, scorer = write_rows(tmp_path / "rows.jsonl", *rows), length_scorer(scores_steps=True)
    score, asked, deadly = score_rows.score_solution, list[str](), {"xxx"}

    async def fails_at_three(scorer: Any, row: Any) -> Any:
        asked.append(row.steps[0])
        if row.steps[0] in deadly:
            raise RuntimeError("killed")
        return await score(scorer, row)

    monkeypatch.setattr(score_rows, "score_solution", fails_at_three)
    with pytest.raises(RuntimeError, match="killed"):
        score_rows.score_rows(config, scorer)
    assert not config.output.exists()
    asked.clear()
    deadly.clear()
    told = score_rows.score_rows(config, scorer)
    assert asked == ["xxx", "xxxx"]
    assert told["rows"] == "4, 2 of them scored by an interrupted process"
    assert scores(config) == [[0.01], [0.02], [0.03], [0.04]]

    deadly.add("other")
    write_rows(tmp_path / "rows.jsonl", *rows[:3], {"question": "q", "steps": ["other"]})
    with pytest.raises(RuntimeError, match="killed"):
        score_rows.score_rows(config, scorer)
    asked.clear()
    write_rows(tmp_path / "rows.jsonl", *rows)  # not those that the interrupted process scored
    score_rows.score_rows(config, scorer)
    assert asked == ["x", "xx", "xxx", "xxxx"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"steps": ["a"]}, r"rows\.jsonl:1: no field question, problem, prompt; fields present: steps"),
        ({"question": "q"}, r"rows\.jsonl:1: no field steps, completions, solution, .*solution_field names"),
        (
            {"question": "q", "steps": [1]},
            r"1: field 'steps': got list, expected a text or a list",
        ),
        ({"question": "q", "steps": ["a", " "]}, r"rows\.jsonl:1: an empty question, solution or step"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    config = write_rows(tmp_path / "rows.jsonl", row)
    with pytest.raises(InputError, match=told):
        score_rows.score_rows(config, length_scorer(scores_steps=True))


def test_steps_beyond_the_context_have_no_score(tmp_path: Path, random_scorers: dict[str, str]) -> None:
    """By a real PRM with a context of 256 tokens, and an ORM."""
    long = ["3 plus 4 = 7"] * 60
    config = write_rows(
        tmp_path / "rows.jsonl",
        {"question": "Start with 3", "steps": long},
        {"question": "q " * 400, "steps": ["a"]},
    )
    arguments = ["--rows", str(config.rows), "--output", str(config.output)]
    main([*arguments, "--checkpoint", random_scorers["prm"]])
    first, second = scores(config)
    n_read = sum(score is not None for score in first)
    assert 0 < n_read < len(first) == 60
    assert first[n_read:] == [None] * (60 - n_read)
    assert second == [None]
    main([*arguments, "--checkpoint", random_scorers["orm"]])
    assert scores(config) == [[None], [None]]
