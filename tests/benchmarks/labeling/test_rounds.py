"""The figures of labeling in rounds, on curves and labels that are known by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.labeling.rounds import ARMS, Rounds
from benchmarks.labeling.rounds_figures import label_figures, ratio, read_aurocs, resampled_means, tokens_at
from data_gen.files.run_folder import read_records, write_records
from data_gen.label import main as label
from data_gen.records.solutions import LabeledSolution
from data_gen.sample import main as sample

CURVE = [(1000.0, 0.8), (4000.0, 0.9)]


def test_an_auroc_is_read_back_as_the_tokens_of_todays_curve() -> None:
    assert tokens_at(0.85, CURVE) == pytest.approx(2000)  # half way, over the logarithm
    assert tokens_at(0.8, CURVE) == 1000
    assert tokens_at(0.7, CURVE) == 1000  # beyond the ends, the ends
    assert tokens_at(0.95, CURVE) == 4000
    assert tokens_at(0.85, [(1000.0, 0.9), (4000.0, 0.8)]) == 1000  # half of the tokens gave more


def test_the_ratio_is_of_an_arms_tokens_by_todays_for_the_same_auroc() -> None:
    means = {"today-1000": 0.8, "today-2000": 0.9, "thin": 0.85}
    tokens = {"today-1000": 1000.0, "today-2000": 4000.0, "thin": 500.0}
    assert ratio("thin", means, tokens) == pytest.approx(0.25)
    assert ratio("today-2000", means, tokens) == pytest.approx(1)


def test_seeds_and_problems_are_drawn_again_for_all_arms_alike(tmp_path: Path) -> None:
    for seed, areas in (("seed-1", {"a": 0.5, "b": 0.7}), ("seed-2", {"c": 0.9})):
        (tmp_path / seed).mkdir()
        for arm, gain in (("one", 0.0), ("two", 0.1)):
            text = json.dumps({name: area + gain for name, area in areas.items()})
            (tmp_path / seed / f"prm-{arm}.aurocs.json").write_text(text)
    found = read_aurocs([tmp_path / "seed-1", tmp_path / "seed-2"], ["one", "two"])
    assert [list(seed) for seed in found["one"]] == [[0.5, 0.7], [0.9]]
    drawn = [resampled_means(found, np.random.default_rng(number)) for number in range(1000)]
    assert [each["two"] - each["one"] for each in drawn] == pytest.approx([0.1] * 1000)
    means = [each["one"] for each in drawn]
    assert min(means) == pytest.approx(0.5)  # the first seed twice, its first problem all the time
    assert max(means) == pytest.approx(0.9)
    assert np.mean(means) == pytest.approx((0.6 + 0.9) / 2, abs=0.05)


def test_of_two_labels_of_one_solution_the_first_counts_and_both_are_charged(tmp_path: Path) -> None:
    run = ("--problems.n", "4", "--policy.model", "simulated", "--max_new_tokens", "400")
    for part in ("first", "second"):
        sample(["--output", str(tmp_path / part), *run])
        label(["--run", str(tmp_path / part)])
    path = tmp_path / "second" / "labels.jsonl"
    wrong = [each for each in read_records(path, LabeledSolution) if not each.graded.verdict.is_correct]
    assert wrong
    # The second part's labels of wrong solutions say the first step, which one of them has wrong at most
    misled = [replace(each, labels=(False, *(None,) * (len(each.steps) - 1))) for each in wrong]
    write_records(path, LabeledSolution, misled)
    first, second = (label_figures(tmp_path, [part]) for part in ("first", "second"))
    both = label_figures(tmp_path, ["first", "second"])
    assert first["exact"] > 0.5 > second["exact"]
    assert (both["n_located"], both["exact"]) == (len(wrong), first["exact"])
    assert both["n_tokens"] == 2 * first["n_tokens"] > 0


def test_every_job_comes_after_what_it_reads(tmp_path: Path) -> None:
    jobs = list(Rounds(tmp_path, 4).jobs(tuple(ARMS)))
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for place, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:place])
    assert {part for parts in ARMS.values() for part in parts} <= set(names)
