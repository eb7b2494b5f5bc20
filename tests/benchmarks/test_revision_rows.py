"""The distances that the benchmark stored are those of the real solutions."""

import json
from pathlib import Path

from benchmarks.revision_rows import golden_figures, read_gsm8k


def test_golden_distances_on_real_solutions(real_data: Path) -> None:
    questions = read_gsm8k(real_data / "samples" / "gsm8k_model_solutions.jsonl")
    figures = golden_figures(questions)
    plain = figures["as_stored"]
    assert (
        plain["n_mixed_questions"],
        plain["n_targets_with_choice"],
        plain["n_ties"],
        plain["n_other_under_normalized"],
    ) == (
        731,
        762,
        6,
        125,
    )
    assert (plain["closest_mean"], plain["random_mean"]) == (167.01, 200.61)
    stored = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "revisions.json").read_text())
    assert json.loads(json.dumps(figures)) == stored["distances"]
