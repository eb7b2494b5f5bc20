"""Ratios of sequential to parallel attempts, and right attempts along a chain."""

import dataclasses
import json
from pathlib import Path

from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.evaluation.pictures.figures import as_csv, figures
from prm_train.evaluation.pictures.revising import chain_plot, ratio, ratio_maps
from prm_train.evaluation.report import render
from prm_train.evaluation.results import RevisionChains, RevisionFacts, SearchReport
from prm_train.evaluation.revision_facts import attempts_in_training, revision_facts, right_by_place
from prm_train.evaluation.tree_methods import tree_methods
from prm_train.search.failures import as_unsolved
from prm_train.search.results import Difficulty, ProblemResult, Setting, StrategyRun
from prm_train.strategies.candidates import Candidate
from tests.prm_train.evaluation.test_report import RUN, around

ONE, TWO, BLIND = "revisions:n_chains=1", "revisions:n_chains=2", "revisions:n_chains=1:n_shown=0"
PLACES = (around(0.3), around(0.5), around(0.6), around(0.7))
CHAINS = (
    RevisionChains(ONE, "revisions", 1, 4, PLACES),
    RevisionChains(TWO, "revisions", 2, 4, PLACES[:2]),
    RevisionChains(BLIND, "revisions:n_shown=0", 1, 0, PLACES[:1] * 4),
)
FIFTHS = {ONE: (0.9, 0.8, 0.6, 0.4, 0.2), TWO: (0.9, 0.7, 0.6, 0.5, 0.4)}
REPORT = SearchReport(
    RUN,
    {ONE: {4: around(0.58)}, TWO: {4: around(0.62)}, BLIND: {4: around(0.5)}},
    accuracy_by_quintile={name: {4: tuple(map(around, values))} for name, values in FIFTHS.items()},
    revisions=RevisionFacts(CHAINS, 2),
)


def test_a_ratio_is_attempts_in_a_chain_to_chains() -> None:
    assert [ratio(16, n) for n in (1, 2, 4, 8, 16)] == ["16:1", "4:1", "1:1", "1:4", "1:16"]
    assert ratio(12, 2) == "3:1"
    assert ratio(16, 3) == "16:9"  # 16 / 3 attempts in each of 3


def test_more_chains_than_attempts_are_independent_attempts_on_the_map() -> None:
    name = "revisions:n_chains=64"
    wide = dataclasses.replace(
        REPORT,
        accuracy={**REPORT.accuracy, name: {4: around(0.4)}},
        accuracy_by_quintile={},
        revisions=RevisionFacts((*CHAINS, RevisionChains(name, "revisions", 64, 4, PLACES[:1]))),
    )
    ((_, grid),) = ratio_maps(wide)
    assert grid.columns[-1] == ("1:4", "4 × 1")


def test_the_map_shades_what_a_row_loses_to_its_best_ratio() -> None:
    """The largest gap of a row, 20 points on the hardest fifth, is white."""
    ((group, grid),) = ratio_maps(REPORT)  # blind chains have one ratio alone
    assert group == "revisions"
    assert grid.columns == (("4:1", "1 × 4"), ("1:1", "2 × 2"))
    assert grid.rows[0] == "all problems"
    assert grid.rows[5] == "hardest fifth"
    strengths = [[round(tile.strength, 3) for tile in row if tile] for row in grid.tiles]
    assert strengths == [[0.44, 0.55], [0.55, 0.55], [0.55, 0.275], [0.55, 0.55], [0.275, 0.55], [0.0, 0.55]]
    hardest = grid.tiles[5]
    assert [tile.is_best for tile in hardest if tile] == [False, True]
    assert [tile.texts for tile in hardest if tile] == [("20.0", "16–24"), ("40.0", "36–44")]


def test_the_map_without_draws_for_difficulty_has_one_row() -> None:
    ((_, grid),) = ratio_maps(dataclasses.replace(REPORT, accuracy_by_quintile={}))
    assert grid.rows == ("all problems",)


def test_the_longest_chain_is_drawn_with_the_length_of_the_training() -> None:
    plot = chain_plot(REPORT)
    assert plot is not None
    assert [(one.label, len(one.points)) for one in plot.lines] == [("chain", 4), ("blind chain", 4)]
    # on 608 pixels from 34 on, the third of four places is at 34 + 2 / 3 * 608
    assert 'class="mark" x1="439.3"' in plot.wide
    assert "trained after up to 2 attempts" in plot.wide
    longer = dataclasses.replace(REPORT, revisions=RevisionFacts(CHAINS, 4))
    beyond = chain_plot(longer)
    assert beyond is not None
    assert "trained" not in beyond.wide  # no attempt was drawn after as many


def test_both_are_on_the_page_and_files_with_their_data() -> None:
    page = render(REPORT)
    assert "Accuracy by ratio of sequential to parallel attempts at N = 4." in page
    assert "Share of right attempts by place in a chain" in page
    found = {figure.name: as_csv(figure).splitlines() for figure in figures(REPORT)}
    assert found["ratio-1"][0] == "row,column,column_detail,value,low,high"
    assert "fourth fifth,1:1,2 × 2,0.5,0.46,0.54" in found["ratio-1"]
    assert "chain,3,0.6,0.5599999999999999,0.64" in found["chain"]


def chains_of(name: str, right: str) -> ProblemResult:
    """Four attempts in two chains of two, one after the other."""
    candidates = tuple(Candidate(name, i, "", "9", each == "1", chain=i // 2) for i, each in enumerate(right))
    settings: dict[str, Setting] = {"n_chains": 2, "n_shown": 4, "verifier": "none", "aggregation": "last"}
    run = StrategyRun(TWO, 4, 1.0, candidates, settings=settings)
    return ProblemResult(Problem(name, "?", "9"), 1.0, (run,), (), Difficulty(0, 0), Usage())


def test_right_attempts_are_counted_by_place() -> None:
    """Of the first problem, one of two first attempts and both second ones are right; of the other none."""
    results = [chains_of("a", "0111"), chains_of("b", "0000")]
    trees = list(tree_methods(results[0], {}))
    assert [tree.name for tree in trees] == [TWO]
    found = revision_facts(results, trees, None, 0)
    assert found is not None
    assert found.n_trained is None
    (chains,) = found.chains
    assert (chains.method, chains.group, chains.n_chains, chains.n_shown) == (TWO, "revisions", 2, 4)
    assert [each.mean for each in chains.right_by_place] == [0.25, 0.5]
    assert revision_facts(results, [], None, 0) is None


def test_all_places_of_a_problem_that_failed_count_as_wrong() -> None:
    """It is read as attempts that stand in no chain, of which there are more than a chain has."""
    answered = chains_of("a", "0111")
    failed = as_unsolved(dataclasses.replace(answered, runs=(), failure="odd"), answered)
    found = right_by_place([failed, answered], TWO, 0)
    assert [each.mean for each in found] == [0.25, 0.5]


def test_the_length_of_the_training_is_read_from_the_record_of_its_rows(tmp_path: Path) -> None:
    model, rows = tmp_path / "model", tmp_path / "rows"
    assert attempts_in_training(str(model)) is None
    (model / "training").mkdir(parents=True)
    (model / "training" / "config.json").write_text(json.dumps({"rows": str(rows / "revision.jsonl")}))
    assert attempts_in_training(str(model)) is None
    rows.mkdir()
    counts = {"0": 7, "1": 3, "2": 1, "3": 0}
    (rows / "build.json").write_text(json.dumps({"revision": {"n_attempts": counts}}))
    assert attempts_in_training(str(model)) == 2
