"""Every kind of training says what it will take, through trainers of ours and of TRL."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prm_train import train_implicit_prm, train_orm, train_verifier


@pytest.fixture
def rows_of(tmp_path: Path, orm_rows: Path) -> Callable[[str], Path]:
    def rows(command: str) -> Path:
        if command == "verifier":
            path = tmp_path / "prm.jsonl"
            made = [
                {
                    "prompt": f"Start with {i}",
                    "completions": ["1 plus 1 = 2", "A: 2"],
                    "labels": [True, i % 2 == 0],
                }
                for i in range(30)
            ]
            path.write_text("".join(json.dumps(each) + "\n" for each in made))
            return path
        return orm_rows

    return rows


@pytest.mark.parametrize(
    ("command", "main", "more"),
    [
        ("orm", train_orm.main, ()),
        ("pairs", train_orm.main, ("--objective", "pairs")),
        ("implicit", train_implicit_prm.main, ()),
        ("verifier", train_verifier.main, ()),
    ],
)
def test_every_training_says_what_it_will_take_and_leaves_nothing(
    command: str,
    main: Callable[[list[str]], None],
    more: tuple[str, ...],
    rows_of: Callable[[str], Path],
    tiny_policy: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"rows": rows_of(command), "output": tmp_path / "model", "model": tiny_policy, "batch_size": 2}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    with caplog.at_level(logging.INFO):
        main([*words, "--validation_share", "0.3", "--n_epochs", "2", *more, "--forecast", "true"])
    assert not (tmp_path / "model").exists()
    said = caplog.messages[-1]
    n_rows, n_steps = (
        int(found[1])
        for found in (re.search(r"rows +(\d+) to train on", said), re.search(r"steps +(\d+), of which", said))
        if found
    )
    if command != "pairs":
        assert n_steps == 2 * -(-n_rows // 2)
    tokens = re.search(r"tokens +([\d,]+) an epoch, the longest row \d+;\s+([\d,]+)\s+are", said)
    assert tokens is not None
    in_rows, computed = (int(number.replace(",", "")) for number in tokens.groups())
    assert computed >= in_rows
