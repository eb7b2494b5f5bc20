"""The plots of a report as files."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from data_gen.settings.errors import ConfigError
from prm_train.evaluation.pictures.figures import as_csv, figure_style, figures, write_figures
from prm_train.report import main
from tests.prm_train.evaluation.test_report import FULL, MINIMAL

NAMES = (
    *("accuracy", "difficulty-1-easiest", "difficulty-2", "difficulty-3", "difficulty-4"),
    *("difficulty-5-hardest", "coverage", "tokens", "flops", "reliability", "loss-prm"),
)


def test_every_plot_of_the_page_is_a_drawing_with_its_data(tmp_path: Path) -> None:
    assert tuple(figure.name for figure in figures(FULL)) == NAMES
    assert [figure.name for figure in figures(MINIMAL)] == ["accuracy"]
    written = write_figures(FULL, tmp_path)
    assert written == [tmp_path / f"{name}.{ending}" for name in NAMES for ending in ("svg", "csv")]


def test_a_drawing_needs_nothing_beside_it(tmp_path: Path) -> None:
    for path in write_figures(FULL, tmp_path):
        if path.suffix == ".svg":
            text = path.read_text()
            assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
            assert not re.search(r"var\(|url\(|@import|href", text)


def test_the_colour_of_a_line_is_spelled_out() -> None:
    style = figure_style().splitlines()
    assert (
        ".c-prm .line, .c-prm.line { fill: none; stroke: #0067a6; stroke-width: 2; stroke-linejoin: round; }"
        in style
    )
    assert "svg .grid { stroke: #e8ebee; }" in style
    # what holds for rings and quiet lines alone does so in a file, too
    assert ".series.c-prm .dot { fill: #0067a6; }" in style
    assert ".ring.c-prm .dot { fill: none; stroke: #0067a6; stroke-width: 2; }" in style
    assert ".c-prm .band, .c-prm.band { fill: #0067a6; opacity: .13; }" in style
    assert not [rule for rule in style if rule.startswith(".c-prm .dot")]
    assert [rule for rule in style if ".c-prm .band" in rule and "stroke" in rule] == [
        ".quiet.c-prm .band { fill: none; stroke: #0067a6; opacity: .6; stroke-dasharray: 2 2; }"
    ]
    assert "svg .dashed .line { stroke-dasharray: 6 4; }" in style


def test_data_holds_the_points_with_their_intervals() -> None:
    found = {figure.name: as_csv(figure).splitlines() for figure in figures(FULL)}
    assert found["accuracy"][0] == "line,n,value,low,high"
    assert "PRM weighted,64,0.85,0.8099999999999999,0.89" in found["accuracy"]
    assert "majority,2000000000,0.5,0.46,0.54" in found["flops"]
    assert found["loss-prm"] == [
        "line,update,value,low,high",
        "train,10,0.6,,",
        "train,20,0.4,,",
        "train,30,0.3,,",
        "validation,30,0.35,,",
    ]
    assert found["reliability"][1:] == [
        *("PRM,0.2,0.15,,", "PRM,0.9,0.92,,"),
        *("steps in the bin,0.2,30,,", "steps in the bin,0.9,70,,"),
    ]
    assert found["accuracy"][-2:] == ["greedy,,0.46,,", '"pass@1, T=0.3",,0.47,,']


def test_the_figures_of_a_finished_report_are_written_without_a_search(tmp_path: Path) -> None:
    FULL.write(tmp_path / "report.json")
    main([str(tmp_path), "--figures", str(tmp_path / "figures")])
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(NAMES)
    with pytest.raises(ConfigError, match="runs: got 1 folders, expected two to compare"):
        main([str(tmp_path)])
