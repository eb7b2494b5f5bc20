"""Where lines, whiskers, points and tiles stand, worked out by hand."""

import re

import pytest

from prm_train.evaluation.methods import METHODS
from prm_train.evaluation.pictures.charts import Axis, Frame, Series, axes, dodges, line, marker
from prm_train.evaluation.pictures.plots import Layout, line_drawing
from prm_train.evaluation.pictures.styles import styles_of
from prm_train.evaluation.pictures.tiles import Grid, Tile, grid_drawing, shades, wrapped
from prm_train.metrics.estimators import Interval

UNIT = Axis(0.0, 1.0, ())
FRAME = Frame(UNIT, UNIT, 0.0, 0.0, 100.0, 100.0)


def series(label: str, half_width: float, **more: bool) -> Series:
    interval = Interval(0.5, 0.5 - half_width, 0.5 + half_width)
    return Series(label, "c-prm", ((0.0, interval), (1.0, interval)), **more)


def three(half_width: float, **more: bool) -> list[Series]:
    return [series(name, half_width, **more) for name in "abc"]


def test_wide_intervals_are_whiskers_side_by_side_and_narrow_ones_bands() -> None:
    """Three lines between two places 100 pixels apart: 5 pixels from one to the next."""
    assert dodges(FRAME, three(0.2)) == [-5.0, 0.0, 5.0]
    drawn = line(FRAME, series("a", 0.2), -5.0)
    assert 'class="whisker" x1="-5.0" x2="-5.0" y1="30.0" y2="70.0"' in drawn
    assert 'points="-5.0,50.0 95.0,50.0"' in drawn
    assert "band" not in drawn
    assert dodges(FRAME, three(0.05)) is None
    drawn = line(FRAME, series("a", 0.05))
    assert 'class="band" points="0.0,45.0 100.0,45.0 100.0,55.0 0.0,55.0"' in drawn
    assert "whisker" not in drawn
    # two lines are told apart, and the fit of a curve has a band whatever its width
    assert dodges(FRAME, three(0.2)[:2]) is None
    assert dodges(FRAME, three(0.2, keeps_band=True)) is None


def test_whiskers_of_places_that_are_near_each_other_do_not_mix() -> None:
    """Places 10 pixels apart leave 6 for three lines: 2 from one to the next."""
    narrow = Frame(UNIT, UNIT, 0.0, 0.0, 10.0, 100.0)
    assert dodges(narrow, three(0.2)) == pytest.approx([-2.0, 0.0, 2.0])


def test_whiskers_keep_clear_of_the_ends_of_the_axis() -> None:
    """Of 612 pixels between 34 and 646, 5 + 6 are free on each side."""
    drawn = line_drawing("", three(0.2), Layout(680, 440, 34).frame(UNIT, UNIT), Layout(680, 440, 34))
    places = [float(x) for x in re.findall(r'class="whisker" x1="([\d.]+)"', drawn)]
    assert (min(places), max(places)) == (40.0, 640.0)


def test_points_have_the_shape_of_their_style() -> None:
    assert 'points="8.0,18.0 12.0,18.0 12.0,22.0 8.0,22.0"' in marker("c-prm m-square", 10, 20, "", 2.0)
    assert 'points="10.0,17.0 13.0,20.0 10.0,23.0 7.0,20.0"' in marker("m-diamond", 10, 20, "", 2.0)
    assert 'r="2.0"' in marker("c-prm", 10, 20, "", 2.0)
    assert 'r="4.0"' in marker("c-prm ring", 10, 20, "", 2.0)


def test_a_mark_is_a_line_across_with_its_name() -> None:
    marked = Frame(Axis(0.0, 1.0, (), marks=((0.25, "here"),)), UNIT, 0.0, 0.0, 100.0, 100.0)
    assert 'class="mark" x1="25.0" x2="25.0" y1="0.0" y2="100.0"' in axes(marked)
    assert ">here<" in axes(marked)


def test_texts_of_ticks_are_left_out_where_they_would_touch() -> None:
    """Sixteen places on 150 pixels are 10 apart, and two digits take 17: every second one has its number."""
    x = Axis(1.0, 16.0, tuple((float(i), str(i)) for i in range(1, 17)))
    drawn = axes(Frame(x, UNIT, 0.0, 0.0, 150.0, 100.0))
    assert re.findall(r'class="tick middle"[^>]*>(\d+)<', drawn) == [str(i) for i in range(1, 17, 2)]
    assert drawn.count("tick-mark") == 16


def test_every_method_has_a_style_of_its_own() -> None:
    names = [name for name in METHODS if not name.endswith(("_tuned", "_early", "_margin"))]
    more = ["revisions:n_chains=1", "revisions:n_chains=2", "mcts:c_puct=4", "of_another_project"]
    styles = styles_of([*names, *more])
    assert len(set(styles.values())) == len(names) + len(more)
    own = {name: styles[name].split()[:2] for name in ("rebase", "mcts", "beam", "dvts", "best_first")}
    assert len({colour for colour, _ in own.values()}) == len(own)
    # what is drawn in another one's place looks like it
    same = styles_of(["beam", "beam_tuned", "majority", "majority_early"])
    assert (same["beam"], same["majority"]) == (same["beam_tuned"], same["majority_early"])
    assert styles_of(["beam_prior"])["beam_prior"] == "c-beam m-square long"


def test_a_tile_stands_in_its_row_and_column() -> None:
    """Names take 100 of 200 pixels and two columns 50 each; rows are 46 high below a head of 64."""
    tiles = Tile(("7",), "c-prm", 0.25, "seven"), Tile(("8",), "c-prm", 0.5, "eight", is_best=True)
    grid = Grid("Map", "row", "column", ("a", "b"), (("x", "1"), ("y", "2")), (tiles, (None, tiles[0])))
    drawn = grid_drawing(grid, 200, 100)
    places = re.findall(r'class="tile" x="([\d.]+)" y="([\d.]+)" width="48.0" height="44.0"', drawn)
    assert places == [("101.0", "65.0"), ("151.0", "65.0"), ("151.0", "111.0")]
    assert 'class="best-frame" x="152.5" y="66.5"' in drawn
    assert 'viewBox="0 0 200 160"' in drawn
    assert 'aria-label="Map. a: x seven, y eight. b: y seven."' in drawn


def test_shades_fall_from_the_best_of_a_row() -> None:
    assert shades([0.9, 0.8, 0.7, None], 0.2) == pytest.approx([0.55, 0.275, 0.0, 0.0])
    assert shades([0.5, 0.1], 0.2) == pytest.approx([0.55, 0.0])


def test_texts_of_a_tile_are_cut_where_they_are_too_long() -> None:
    assert wrapped("particle filter (resampling=split)", 15, 2) == ["particle filter", "(resampling=sp…"]
    assert wrapped("PRM weighted, early stop", 14, 2) == ["PRM weighted,", "early stop"]
