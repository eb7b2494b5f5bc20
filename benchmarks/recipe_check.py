"""Did the recipes of docs/recipes.md come out as expected? `python -m benchmarks.recipe_check FILE`, with the
file that `python -m benchmarks.recipes RUN --result FILE` made of a run of one's own.

Expected are the figures of benchmarks/results/recipes.json. The tolerance of each is what two independent
measurements of one thing differ by in 95 of 100 cases: the root of the summed squares of both half-widths. It
holds problems of another seed, and not what another training moves; of some hundred figures, six outside of
it are no news. A recipe that was not run is left out. Exit code 1 if more than a tenth of the figures are
outside.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import read_object
from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command

EXPECTED = Path(__file__).resolve().parent / "results" / "recipes.json"
SHARE_OUTSIDE = 0.1


@dataclass(frozen=True)
class Checked:
    """One figure of a recipe under an aggregation, in [0, 1]."""

    name: str
    found: float
    expected: float
    tolerance: float

    @property
    def is_inside(self) -> bool:
        return abs(self.found - self.expected) <= self.tolerance

    def __str__(self) -> str:
        told = f"{self.found:.3f}, expected {self.expected:.3f} ± {self.tolerance:.3f}"
        return f"{self.name}: {told}" + ("" if self.is_inside else "   OUTSIDE")


def half_width(interval: Mapping[str, float]) -> float:
    return (interval["high"] - interval["low"]) / 2


def checked(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Checked]:
    """Every mean that both hold, of the `recipes` part of two recipes.json."""
    made = []
    for recipe, how, figure, wanted in means(expected):
        own = found.get(recipe, {}).get("by_aggregation", {}).get(how, {}).get("means", {}).get(figure)
        if own is not None:
            tolerance = hypot(half_width(own), half_width(wanted))
            made.append(Checked(f"{recipe}, {how}, {figure}", own["mean"], wanted["mean"], tolerance))
    return made


def means(recipes: Mapping[str, Any]) -> list[tuple[str, str, str, Mapping[str, float]]]:
    return [
        (recipe, how, figure, value)
        for recipe, of_recipe in recipes.items()
        for how, by_how in of_recipe["by_aggregation"].items()
        for figure, value in by_how["means"].items()
    ]


def recipes_of(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that is none of `benchmarks.recipes`."""
    found = read_object(path).get("recipes")
    if not isinstance(found, dict):
        raise InputError(f"{path}: no `recipes`; expected what `python -m benchmarks.recipes` wrote")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("found", type=Path, help="figures of a run of one's own")
    path = parser.parse_args(argv).found
    if path.resolve() == EXPECTED:
        raise InputError(f"{path}: holds the expected figures; expected those of a run of your own")
    made = checked(recipes_of(path), recipes_of(EXPECTED))
    n_outside = sum(not each.is_inside for each in made)
    print("\n".join([*map(str, made), f"{n_outside} of {len(made)} figures outside their tolerance"]))
    return int(not made or n_outside > SHARE_OUTSIDE * len(made))


if __name__ == "__main__":
    run_command(lambda: sys.exit(main()), "recipe_check")
