"""Recipes against their expected figures, on numbers made by hand, and the page that shows them."""

import json
from pathlib import Path

import pytest

from benchmarks.recipe_check import EXPECTED, checked, main
from data_gen.settings.errors import InputError


def recipes(mean: float, half_width: float) -> dict:
    value = {"mean": mean, "low": mean - half_width, "high": mean + half_width}
    return {"hard": {"by_aggregation": {"min": {"means": {"weighted_16": value}}}}}


def test_a_figure_may_differ_by_the_root_of_both_squared_half_widths():
    # sqrt(0.03^2 + 0.04^2) = 0.05
    inside, outside = (checked(recipes(mean, 0.03), recipes(0.8, 0.04))[0] for mean in (0.751, 0.749))
    assert inside.is_inside
    assert not outside.is_inside
    assert str(outside) == "hard, min, weighted_16: 0.749, expected 0.800 ± 0.050   OUTSIDE"


def test_recipes_that_were_not_run_are_left_out_and_none_at_all_is_no_success(tmp_path, capsys):
    expected = json.loads(EXPECTED.read_text())
    for name, kept, exit_code in (("all", expected["recipes"], 0), ("none", {}, 1)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"recipes": kept}))
        assert main([str(path)]) == exit_code
    assert "0 of 0 figures outside" in capsys.readouterr().out


def test_the_expected_figures_are_not_compared_with_themselves(tmp_path):
    with pytest.raises(
        InputError, match=r"recipes\.json: holds the expected figures; expected those of a run"
    ):
        main([str(EXPECTED)])
    other = tmp_path / "metrics.json"
    other.write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json: no `recipes`; expected what"):
        main([str(other)])


def test_a_run_with_many_figures_far_off_fails(tmp_path):
    expected = json.loads(EXPECTED.read_text())["recipes"]
    for recipe in expected.values():
        for by_how in recipe["by_aggregation"].values():
            for value in by_how["means"].values():
                value.update({name: value[name] - 0.2 for name in ("mean", "low", "high")})
    (tmp_path / "off.json").write_text(json.dumps({"recipes": expected}))
    assert main([str(tmp_path / "off.json")]) == 1


@pytest.mark.parametrize("recipe", json.loads(EXPECTED.read_text())["recipes"])
def test_the_page_shows_the_expected_figures(recipe):
    """Each recipe's own aggregation: the interval of weighted best-of-16, as benchmarks/recipe_tables.py
    prints it.
    """
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    found = json.loads(EXPECTED.read_text())["recipes"][recipe]
    value = found["by_aggregation"][found["made_for"]]["means"]["weighted_16"]
    assert f"{100 * value['mean']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})" in page
