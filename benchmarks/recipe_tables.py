"""The tables of docs/recipes.md that hold figures, from benchmarks/results/recipes.json: `python -m
benchmarks.recipe_tables`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.recipes import REFERENCE, RESULT

RECIPE_NAMES = {
    "hard": "hard labels, first error (`first_error`)",
    "soft": "soft values (`every_step`, 8 rollouts)",
    "binomial": "binomial likelihood, up to the first error",
    "binomial, every step": "binomial likelihood of every step",
    "pointwise": "ORM, pointwise",
    "pairs": "ORM on pairs",
    "verdicts": "ORM, the verdict at every step",
    "pointwise, equal cost, 2 epochs": "ORM, pointwise, tokens of the PRM's labels spent on solutions, 2 "
    "epochs",
    "pointwise, equal cost": "the same, 6 epochs as all others",
}
ROUND_NAMES = {
    "beam_4": "beam search, N = 4",
    "beam_16": "beam search, N = 16",
    "beam_64": "beam search, N = 64",
    "weighted_64": "weighted best-of-64",
    "best_64": "the one best of 64",
}
Interval = Mapping[str, float]


def percent(value: Interval) -> str:
    return f"{100 * value['mean']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def share(value: Interval) -> str:
    return f"{value['mean']:.3f} ({value['low']:.3f}–{value['high']:.3f})"


def points(value: Interval) -> str:
    return f"{100 * value['mean']:+.1f} ({100 * value['low']:+.1f} to {100 * value['high']:+.1f})".replace(
        "-", "−"
    )


def tokens(labels: Mapping[str, int]) -> str:
    return f"{labels['n_generated'] / 1e6:.1f} M"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows))


def recipe_table(recipes: Mapping[str, Any]) -> str:
    """A row for each recipe under the aggregation that it is made for, and for one that does better, if there
    is any.
    """
    head = (
        "recipe",
        "aggregation",
        "tokens for labels",
        "training, cpu-seconds",
        "within-problem AUROC",
        "weighted, N = 4, %",
        "N = 16, %",
        "N = 64, %",
        "minus the first, N = 64",
    )
    rows = []
    for name, recipe in recipes.items():
        by_how = recipe["by_aggregation"]
        best = max(by_how, key=lambda how: by_how[how]["means"]["weighted_64"]["mean"])
        for how in dict.fromkeys((recipe["made_for"], best)):
            means = by_how[how]["means"]
            figures = (
                share(means["within_problem_auroc"]),
                *(percent(means[f"weighted_{n}"]) for n in (4, 16, 64)),
            )
            difference = (
                "–" if (name, how) == REFERENCE else points(by_how[how]["minus_reference"]["weighted_64"])
            )
            rows.append(
                (
                    RECIPE_NAMES[name],
                    how if how == recipe["made_for"] else f"{how} (best of three here)",
                    tokens(recipe["labels"]),
                    f"{recipe['training']['cpu_seconds']:,.0f}",
                    *figures,
                    difference,
                )
            )
    return table(head, rows)


def round_table(parts: Sequence[Mapping[str, Any]]) -> str:
    """A row for each figure and training seed; `parts` are those of seeds 0, 1, …"""
    head = (
        "% of problems solved",
        "seed",
        "first round",
        "and samples",
        "and beams",
        "beams − first, points",
        "beams − samples, points",
    )
    rows = [
        (
            label,
            str(seed),
            *(percent(part["results"][name]["means"][figure]) for name in ("first", "samples", "beam")),
            points(part["results"]["beam"]["minus_reference"][figure]),
            points(part["beam_minus_samples"][figure]),
        )
        for figure, label in ROUND_NAMES.items()
        for seed, part in enumerate(parts)
    ]
    return table(head, rows)


def main() -> None:
    figures = json.loads(RESULT.read_text())
    print(recipe_table(figures["recipes"]), end="\n\n")
    print(round_table([figures[name] for name in sorted(figures) if name.startswith("second_round")]))


if __name__ == "__main__":
    main()
