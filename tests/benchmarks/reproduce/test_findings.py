"""Findings of seeds that are made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reproduce.__main__ import with_costs
from benchmarks.reproduce.claims import difference_claim, ratio_claim, ratio_intervals, share
from benchmarks.reproduce.jobs import JobRecord
from benchmarks.reproduce.measure_search import LOOKAHEADS, MORE_ORM, ORM, WEIGHTED
from benchmarks.reproduce.measured import (
    Measured,
    Point,
    RevisionHalf,
    SearchHalf,
    Stopped,
    Values,
    check_answered,
)
from benchmarks.reproduce.page import figures, page
from benchmarks.reproduce.revision_findings import f3, f4, f7, flips
from benchmarks.reproduce.search_findings import early_stop_figures, f1, f2, f5, f8, saved
from benchmarks.revisions import BLIND, CHAINS, SEEING
from data_gen.process.machine import shown_path
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.allocation.study import BLIND as SHUFFLED
from prm_train.allocation.study import FIXED
from prm_train.search.allocation import ORACLE, PROMPT, SCORE
from prm_train.search.results import Difficulty, ProblemResult

N = 20  # problems, four to a fifth
FIFTHS = tuple(i // 4 for i in range(N))
NS = (1, 4, 8, 16, 64)


def solves(n_problems: int) -> Values:
    """The easiest so many."""
    return tuple(float(i < n_problems) for i in range(N))


def at_all(n_problems: int) -> dict[int, Values]:
    return dict.fromkeys(NS, solves(n_problems))


def flat(accuracy: float, flops: float) -> Point:
    return Point((accuracy,) * N, (flops,) * N)


def search_half() -> SearchHalf:
    """The PRM solves 8 problems at N = 4 and 18 at 64, the stronger ORM 6 and 10. Beam search solves all but
    the easiest fifth at 4, and 12 at 64. Best-of-64 is half right for 8 FLOPs, the oracle's choice from 1
    (0.4) to 4 (0.6), others for 4.
    """
    weighted = {1: solves(6), 4: solves(8), 8: solves(10), 16: solves(14), 64: solves(18)}
    beam = {n: solves(12) for n in NS} | {
        4: tuple(float(i >= 4) for i in range(N)),  # none of the easiest fifth, all others
    }
    orm = {1: solves(6), 4: solves(6), 8: solves(8), 16: solves(9), 64: solves(10)}
    others = ("majority", "particle_filter", "particle_filter_tuned", "beam:survivors=sampled", "dvts")
    curve = (flat(0.4, 1.0), flat(0.6, 4.0))
    return SearchHalf(
        solved={
            WEIGHTED: weighted,
            "beam": beam,
            ORM: at_all(5),
            MORE_ORM: orm,
            **{name: at_all(9) for name in (*others, "dvts_tuned", *LOOKAHEADS)},
        },
        mean_flops={
            name: dict.fromkeys(NS, 2e9)
            for name in (WEIGHTED, ORM, "beam", *others, "dvts_tuned", *LOOKAHEADS)
        },
        fifths=FIFTHS,
        strongest_orm=MORE_ORM,
        validation_of_orms={ORM: 0.3, MORE_ORM: 0.4},
        same_budget={8: WEIGHTED, 16: WEIGHTED, 64: WEIGHTED},
        settings={},
        best_of_n={4: flat(0.3, 1.0), 16: flat(0.4, 2.0), 64: flat(0.5, 8.0)},
        allocated={ORACLE: curve, **{kind: (flat(0.5, 4.0),) for kind in (PROMPT, SCORE, SHUFFLED, FIXED)}},
        early_stop=Stopped((1.0,) * N, (100.0,) * N, (1.0,) * N, (40.0,) * N, 0.9),
    )


def revision_half() -> RevisionHalf:
    """Attempts are wrong up to place 5 and right from there on; blind ones right and wrong by turns. One
    chain solves all problems, two the easiest ones, the others none.
    """
    methods = {f"{spec}, hierarchical": {16: solves(0)} for spec in SEEING.values()}
    return RevisionHalf(
        solved={
            **methods,
            f"{SEEING[1]}, hierarchical": {16: solves(N)},
            f"{SEEING[2]}, hierarchical": {16: solves(8)},
            f"{BLIND[1]}, hierarchical": {16: solves(4)},
            "policy, ORM-weighted": {16: solves(4)},
            "policy, majority": {16: solves(4)},
        },
        tokens={},
        fifths=FIFTHS,
        right=((0.0,) * 5 + (1.0,) * 11,) * N,
        chosen=((0.0,) * 5 + (1.0,) * 11,) * N,
        blind=((1.0, 0.0) * 8,) * N,
    )


SEEDS = [search_half(), search_half()]
CHAIN_SEEDS = [revision_half(), revision_half()]


def test_a_claim_wants_its_side_in_every_seed_and_over_them():
    ones, mixed = np.ones(30), np.tile([1.0, -1.0, -1.0], 10)
    assert difference_claim("", [ones, ones], "above").holds
    assert not difference_claim("", [ones, ones], "below").holds
    assert difference_claim("", [-ones, -ones], "below").holds
    assert not difference_claim("", [ones, ones, mixed], "above").holds  # -1/3 in the last one
    assert difference_claim("", [ones, ones, mixed], "above").interval.mean == pytest.approx(5 / 9)


def test_a_ratio_is_of_sums_over_problems():
    # 1 of 4 and 3 of 4: 4 of 8, and not the mean of a third and an undefined share
    ratio = share(np.array([1.0, 3.0, 0.0]), np.array([4.0, 4.0, 0.0]))
    pooled, (own,) = ratio_intervals([(ratio, 3)])
    assert pooled.mean == own.mean == 0.5


def test_flips_by_hand():
    # right, right, wrong, right: of two right attempts that something follows one is followed by a wrong one
    flipped, followed = flips([(1.0, 1.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)])
    assert flipped.tolist() == [1.0, 0.0]
    assert followed.tolist() == [2.0, 0.0]


def test_compute_saved_is_read_between_budgets_on_a_line_over_log_cost():
    weights = np.full((1, N), 1 / N)
    # half way from 0.4 to 0.6 is cost 2, half way from 1 to 4 in logarithms: a fourth of 8
    assert saved(flat(0.5, 8.0), (flat(0.4, 1.0), flat(0.6, 4.0)))(weights) == pytest.approx([4.0])
    assert saved(flat(0.5, 8.0), (flat(0.4, 1.0),))(weights) == [0.0]  # never reached


def test_the_prm_beats_the_strongest_orm_and_the_gap_grows():
    found = f1(SEEDS)
    assert found.shows
    assert [claim.interval.mean for claim in found.claims] == pytest.approx([8 / 20, 8 / 20 - 2 / 20])
    even = [replace(each, solved={**each.solved, MORE_ORM: each.solved[WEIGHTED]}) for each in SEEDS]
    assert not f1(even).shows


def test_beam_search_crosses_best_of_n():
    found = f2(SEEDS)
    few, large, easy, hard = (claim.interval.mean for claim in found.claims)
    # At 4 it solves 16 of 20, all but the first four, best-of-N the first eight
    assert (few, large) == pytest.approx((8 / 20, -6 / 20))
    assert (easy, hard) == pytest.approx((-4 / 8, 1.0))
    assert found.shows


def test_allocation_saves_what_its_curve_says():
    found = f5(SEEDS)
    assert found.shows
    assert found.ours["compute_saving"] == {"mean": 4.0, "low": 4.0, "high": 4.0}
    table = found.tables["Within the cost of weighted best-of-N"]
    assert table[2][1:] == ["40.0", "40.0", "60.0"]  # the oracle's, for 1, 2 and 8
    assert table[-1][1:] == ["–", "–", "50.0"]  # what costs 4
    assert found.ours["by_estimate"][SHUFFLED]["mean"] == 2.0
    assert found.ours["oracle_over_blind"]["mean"] == 2.0
    assert found.ours["by_estimate_at_16"][ORACLE]["mean"] == 2.0  # 0.4 for 1 instead of 2


def test_lookahead_is_compared_at_its_whole_budget():
    found = f8(SEEDS)
    # lookahead solves 9; best-of-8 10, best-of-16 14 (twice), best-of-64 18
    assert sorted(claim.interval.mean for claim in found.claims) == pytest.approx(
        [-9 / 20, -5 / 20, -5 / 20, -1 / 20]
    )


def test_early_stops_save_tokens():
    found = early_stop_figures(SEEDS)
    assert found["tokens_saved"] == {"mean": 0.6, "low": 0.6, "high": 0.6}
    none = [replace(each, early_stop=Stopped((1.0,) * N, (100.0,) * N)) for each in SEEDS]
    assert early_stop_figures(none) == {}


def test_pass_at_1_rises_past_the_trained_length_alone():
    found = f3(CHAIN_SEEDS)
    assert [claim.interval.mean for claim in found.claims] == [0.0, 1.0]
    assert [claim.holds for claim in found.claims] == [False, True]
    assert not found.shows


def test_one_chain_beats_as_many_in_parallel_and_the_best_ratio_is_by_fifth():
    found = f4(CHAIN_SEEDS)
    assert found.shows
    assert found.claims[0].interval.mean == 1.0
    assert found.ours["best_ratio_by_fifth"] == ["1:16"] * 5
    assert max(CHAINS) == 16


def test_flips_of_choices_are_compared_with_those_of_attempts():
    found = f7(CHAIN_SEEDS)
    # Neither ever flips; a blind attempt that is right is always followed by a wrong one
    assert found.ours["independent"]["mean"] == 1.0
    assert found.ours["attempts"]["mean"] == 0.0
    assert not found.shows
    worse = [replace(each, right=each.blind) for each in CHAIN_SEEDS]
    assert f7(worse).shows


def test_a_difference_of_ratios_is_resampled_by_problem():
    claim = ratio_claim("", [(lambda weights: weights @ np.linspace(-3, -1, 50), 50)] * 2, "below")
    assert claim.holds
    assert claim.interval.mean == pytest.approx(-2)
    assert claim.interval.low < -2 < claim.interval.high


def test_what_was_measured_is_read_as_it_was_written(tmp_path: Path):
    measured = Measured(11, search_half(), revision_half(), {"label": 60.0}, "a machine")
    measured.write(tmp_path / "measured.json")
    assert Measured.read(tmp_path / "measured.json") == measured


def test_problems_that_failed_are_no_measurement():
    failed = ProblemResult(Problem("p1", "?", "9"), 1.0, (), (), Difficulty(0, 0), Usage(), failure="odd")
    answered = replace(failed, failure="")
    check_answered([answered], "runs/a")
    with pytest.raises(InputError, match="runs/a: 1 problems failed, as p1: odd; expected none"):
        check_answered([answered, failed], "runs/a")


def test_the_page_names_every_finding_and_what_was_not_run():
    seeds = [
        Measured(seed, search, chains, {"label": 60.0}, "a machine")
        for seed, search, chains in zip((11, 12), SEEDS, CHAIN_SEEDS, strict=True)
    ]
    found = figures(seeds, "command")
    assert list(found["findings"]) == [f"F{i}" for i in range(1, 9)]
    assert found["findings"]["F6"]["shows"] is None
    assert found["findings"]["F6"]["sentence"] == "Not run."
    assert found["cpu_seconds"] == [60, 60]
    assert found["seeds"] == [11, 12]
    text = page(seeds, "command")
    assert text.startswith("<!-- Generated by `command`")
    assert "| F3 | pass@1 along a chain" in text
    assert "| **no** |" in text
    assert "| not run |" in text
    assert "| label | 60 | 60 |" in text
    assert "| F1 | PRM against ORM in best-of-N | the PRM is ahead" in text
    assert "(appendix F) | yes | 1 |" in text  # a minute of labelling for each seed
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_the_command_of_a_page_names_no_folder_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs" / "seed-11") == shown_path(Path("runs/seed-11")) == "runs/seed-11"
    assert shown_path(tmp_path.parent / "seed-12") == f"…/{tmp_path.parent.name}/seed-12"


def test_what_a_finished_run_does_later_is_in_its_costs(tmp_path: Path):
    for name, seconds in (("label-0", 60.0), ("large-0", 30.0)):
        JobRecord(name, 1.0, seconds, "python").write(tmp_path / f"{name}.json")
    before = Measured(11, search_half(), revision_half(), {"label-0": 60.0, "measure": 5.0}, "a machine")
    found = with_costs(before, tmp_path)
    assert found.cpu_seconds == {"label-0": 60.0, "large-0": 30.0, "measure": 5.0}
    assert with_costs(found, tmp_path) == found
