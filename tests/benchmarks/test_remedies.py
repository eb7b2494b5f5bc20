"""The table of remedies: that it asks only what its searches answer, and its numbers by hand."""

import json
from pathlib import Path

from benchmarks.remedies import PLAIN, REMEDIES, Row, searches, table, write
from prm_train.evaluation.results import TokensPerProblem
from prm_train.metrics.estimators import Interval
from prm_train.strategies.tree_searches import parse_strategy


def test_every_remedy_is_searched_and_its_vote_is_the_strategys() -> None:
    found = {name: words[words.index("--strategies") + 1] for name, words in searches("a", "b", ["c"])}
    for _, name, spec, vote in REMEDIES:
        assert spec in found[name].split(",")
        assert str(parse_strategy(spec)) == spec  # as results spell it
        assert vote in parse_strategy(spec).votes
    assert next(method for method, *_ in REMEDIES) == PLAIN
    assert {name for name, _ in searches("a", "b", [])} == {"plain", "bounds"}


def test_a_row_is_in_percent_with_what_it_costs() -> None:
    cost = TokensPerProblem(1234.4, 56.6, 30.0, 2.5e6)
    rows = [Row("beam", 16, Interval(0.5, 0.25, 0.75), Interval(-0.1, -0.2, 0.0), cost)]
    assert table(rows).splitlines()[2] == (
        "| 16 | beam | 50.0 [25.0, 75.0] | -10.0 [-20.0, +0.0] | 1,234 | 57 | 2 |"
    )


def test_the_entry_of_a_seed_stands_beside_those_of_others(tmp_path: Path) -> None:
    for name, n in (("seed-0", 1), ("seed-1", 2), ("seed-0", 3)):
        write(tmp_path / "r.json", name, {"n_problems": n})
    found = json.loads((tmp_path / "r.json").read_text())
    assert found == {"seed-0": {"n_problems": 3}, "seed-1": {"n_problems": 2}}
