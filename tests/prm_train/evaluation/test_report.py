import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_gen.settings.errors import InputError
from prm_train.evaluation.findings import coverage_sentences, declines, duration, short_count, verdict
from prm_train.evaluation.methods import METHODS, method_label
from prm_train.evaluation.pictures.charts import decade_axis, linear_axis, log2_axis, spread_labels
from prm_train.evaluation.pictures.plots import IMPORTANCE, MAX_LINES, drawn_methods, flops_plot
from prm_train.evaluation.report import render, summary_table, table_rows, total_cost, write_report
from prm_train.evaluation.results import (
    LabelStatistics,
    LossCurve,
    PairedDifference,
    RunFacts,
    ScoredSolution,
    ScoredStep,
    SearchReport,
    SingleSample,
    StageCost,
    TokensPerProblem,
    VerifierQuality,
)
from prm_train.metrics.coverage import Coverage, PowerLaw
from prm_train.metrics.estimators import Interval, ReliabilityBin
from prm_train.strategies.tree_searches import STRATEGIES


def around(mean: float, half_width: float = 0.04) -> Interval:
    return Interval(mean, mean - half_width, mean + half_width)


def fifths(mean: float) -> tuple[Interval, ...]:
    return tuple(around(mean * share) for share in (1.0, 0.8, 0.6, 0.4, 0.2))


RUN = RunFacts(
    task="built-in arithmetic",
    seed=1,
    n_problems={"train": 2000, "test": 500},
    command="prm-train quickstart --seed 1",
    config_text="seed: 1\nn_samples: 4",
    machine="2 cores",
    stages=(
        StageCost("sample", 60.0, 59.0, n_generated=1000),
        StageCost("search", 30.0, 29.0, n_generated=500, n_scorer_new=700),
    ),
)
ACCURACY = {
    "majority": {1: around(0.46), 4: around(0.48), 64: around(0.50)},
    "prm_weighted": {1: around(0.35), 4: around(0.56), 64: around(0.85)},
    "prm_vanilla": {1: around(0.35), 4: around(0.50), 64: around(0.22)},
    "beam": {4: around(0.58)},
    "pass_at_n": {1: around(0.35), 4: around(0.65), 64: around(0.96)},
}
QUESTION = 'Start with <script>alert("3")</script> & fold 4.'
MINIMAL = SearchReport(RUN, {"majority": ACCURACY["majority"], "prm_weighted": ACCURACY["prm_weighted"]})
FULL = SearchReport(
    RUN,
    ACCURACY,
    accuracy_by_quintile={
        name: {n: fifths(interval.mean) for n, interval in curve.items()} for name, curve in ACCURACY.items()
    },
    tokens={
        name: {n: TokensPerProblem(60.0 * n, 70.0 * n, 5.0, flops) for n in ACCURACY[name]}
        for name, flops in (("majority", 2e9), ("prm_weighted", 3e9), ("beam", None))
    },
    settings={"majority": "T = 0.5, chosen on validation"},
    single_samples=(SingleSample(0.0, around(0.46)), SingleSample(0.3, around(0.47))),
    coverage=Coverage(
        {1: around(0.35), 4: around(0.65), 64: around(0.96)},
        (PowerLaw("log", Interval(-1.05, -1.1, -1.0), Interval(-0.75, -0.8, -0.7), 3, 0.012, 2),),
    ),
    pass_at_1_by_quintile=fifths(0.7),
    paired=(
        PairedDifference("prm_weighted", "majority", 4, around(0.08)),
        PairedDifference("prm_weighted", "majority", 64, around(0.35)),
        PairedDifference("prm_weighted", "greedy", 64, around(0.39)),
        PairedDifference("beam", "prm_weighted", 4, around(0.02), problems="two hardest quintiles"),
    ),
    verifiers=(
        VerifierQuality("PRM", around(0.87, 0.015), "min, chosen on validation", step_auroc=0.88, brier=0.13),
        VerifierQuality("ORM", around(0.54, 0.02)),
    ),
    reliability=(ReliabilityBin(0.2, 0.15, 30), ReliabilityBin(0.9, 0.92, 70)),
    losses=(
        LossCurve("PRM", "train", (10, 20, 30), (0.6, 0.4, 0.3)),
        LossCurve("PRM", "validation", (30,), (0.35,)),
    ),
    labels=LabelStatistics(
        100,
        {"correct": 30, "incorrect": 65, "unknown": 5},
        {"right": 300, "wrong": 60},
        {"no answer": 5},
        900,
        612.5,
    ),
    examples=(
        ScoredSolution(
            QUESTION,
            (ScoredStep("3 fold 4 = 9", 0.97, True), ScoredStep("9 & 1", 0.1, False)),
            "incorrect",
            "<i>",
        ),
    ),
    notes=("The answer lists every intermediate value.",),
)


class Page(HTMLParser):
    """Collects elements and attributes, and checks that what opens is closed in order."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_json_round_trip_keeps_every_value(tmp_path: Path):
    for report in (FULL, MINIMAL):
        report.write(tmp_path / "report.json")
        assert SearchReport.read(tmp_path / "report.json") == report


def test_bad_json_names_the_field(tmp_path: Path):
    (tmp_path / "report.json").write_text(MINIMAL.to_json().replace('"seed": 1', '"seed": "one"'))
    with pytest.raises(InputError, match=r"report\.json: run: seed: got 'one'"):
        SearchReport.read(tmp_path / "report.json")


def test_records_refuse_what_the_page_cannot_show():
    with pytest.raises(ValueError, match="at least one method"):
        SearchReport(RUN, {})
    with pytest.raises(ValueError, match=r"accuracy_by_quintile\['beam'\]\[4\]: got 2 intervals, expected 5"):
        SearchReport(RUN, ACCURACY, accuracy_by_quintile={"beam": {4: (around(0.5), around(0.5))}})
    with pytest.raises(ValueError, match="PRM/train: 2 updates and 1 losses"):
        LossCurve("PRM", "train", (1, 2), (0.5,))


@pytest.mark.parametrize("report", [FULL, MINIMAL], ids=["full", "minimal"])
def test_page_is_well_formed_and_self_contained(report):
    html = render(report)
    page = Page(html)
    assert page.open == []
    names = {tag for tag, _ in page.elements}
    assert names.isdisjoint({"script", "img", "iframe", "object"})
    links = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "href")
    ]
    assert links == ["data:,"]  # an empty icon, so that a browser does not ask for one
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    assert len(html.encode()) < 2_000_000
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements
    assert "None" not in html
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", html)


def test_every_drawing_has_words():
    for tag, attributes in Page(render(FULL)).elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]


def test_texts_of_the_record_are_escaped():
    html = render(dataclasses.replace(FULL, accuracy={**ACCURACY, "<x>": {1: around(0.5)}}))
    assert "<script>alert" not in html
    assert "Start with &lt;script&gt;alert(&#34;3&#34;)&lt;/script&gt; &amp; fold 4." in html
    assert "<x>" not in html
    assert "&lt;x&gt;" in html


def test_sections_without_data_are_left_out():
    html = render(MINIMAL)
    assert "Reproduce it" in html
    for heading in (
        "By difficulty",
        "What repeated draws cover",
        "What accuracy costs",
        "How good the verifiers are",
        "Labels and training",
        "Solutions as the PRM",
    ):
        assert heading in render(FULL)
        assert heading not in html


def test_computation_is_drawn_for_the_methods_of_which_it_is_known():
    title = "Accuracy against computation spent on a problem"
    assert title in render(FULL)
    tokens = {
        name: {n: dataclasses.replace(each, flops=None) for n, each in curve.items()}
        for name, curve in FULL.tokens.items()
    }
    assert title not in render(dataclasses.replace(FULL, tokens=tokens))
    plot = flops_plot(FULL)
    assert plot is not None
    assert "majority" in plot.wide
    assert "beam search" not in plot.wide


def test_a_point_without_a_value_is_a_dash_and_the_ceiling_is_never_best():
    rows = {row.method: row for row in table_rows(FULL)}
    assert rows["beam"].cells == (None, around(0.58), None)
    assert rows["beam"].is_best == (False, True, False)
    assert rows["prm_weighted"].is_best == (False, False, True)
    assert rows["pass_at_n"].is_best == (False, False, False)
    assert (
        rows["majority"].description
        == "No verifier: the most frequent answer of N samples. Here: T = 0.5, chosen on validation."
    )


def test_verdict_of_a_method_that_wins():
    accuracy, paired, verifier = verdict(FULL)
    assert accuracy == (
        "At N = 64, PRM-weighted best-of-N solves 85.0 % of the 500 test problems (95 % interval 81.0–89.0), "
        "majority voting 50.0 % (46.0–54.0), greedy decoding 46.0 % (42.0–50.0)."
    )
    assert (
        paired
        == "Compared problem by problem, it beats majority voting (N = 4 and 64) and greedy decoding (N = "
        "64)."
    )
    assert verifier == (
        "Among solutions of one problem, the PRM puts a right one above a wrong one 87.0 % of the time (95 % "
        "interval 85.5–88.5), "
        "better than a coin; for comparison: ORM 54.0 %."
    )


def test_verdict_of_a_method_that_loses_or_shows_nothing():
    report = dataclasses.replace(
        FULL,
        paired=(
            PairedDifference("prm_weighted", "majority", 4, around(-0.08)),
            PairedDifference("prm_weighted", "majority", 16, around(0.03)),
            PairedDifference("prm_weighted", "majority", 64, around(-0.03)),
            PairedDifference("prm_weighted", "greedy", 64, around(0.05)),
        ),
        verifiers=(VerifierQuality("PRM", around(0.51)),),
    )
    _, paired, verifier = verdict(report)
    assert paired == (
        "Compared problem by problem, it beats greedy decoding (N = 64); it loses to majority voting (N = "
        "4); "
        "it cannot be told apart from majority voting (N = 16 and 64)."
    )
    assert verifier.endswith("51.0 % of the time (95 % interval 47.0–55.0), not told apart from a coin.")
    worse = dataclasses.replace(report, verifiers=(VerifierQuality("PRM", around(0.4)),))
    assert verdict(worse)[2].endswith("worse than a coin.")


def test_a_difference_that_is_not_significant_among_many_is_not_told_as_one():
    """Both intervals lie above 0; with Holm's correction one is significant."""
    pairs = (
        PairedDifference("prm_weighted", "majority", 4, around(0.05), p_value=0.03, p_holm=0.06),
        PairedDifference("prm_weighted", "greedy", 64, around(0.08), p_value=0.0001, p_holm=0.0002),
    )
    report = dataclasses.replace(FULL, paired=pairs)
    assert verdict(report)[1] == (
        "Compared problem by problem, it beats greedy decoding (N = 64); it cannot be told apart from "
        "majority voting (N = 4)."
    )
    words = "Holm&#39;s correction for the 2 comparisons here"
    page = render(report)
    assert words in page
    assert "<td>0.060</td>" in page
    assert "<td>&lt; 0.001</td>" in page
    assert words.replace("&#39;", "'") in summary_table(report)
    assert "p, Holm" not in render(FULL)  # of an earlier version


def test_coverage_is_told_with_its_laws_and_their_intervals():
    assert FULL.coverage is not None
    assert coverage_sentences(FULL.coverage) == [
        "pass@k is 35.0 % at k = 1 (31.0–39.0) and 96.0 % at k = 64 (92.0–100.0).",
        "log(pass@k) = a k^b with a = −1.050 (−1.100 to −1.000) and b = −0.750 (−0.800 to −0.700) is at most "
        "1.2 points off at the 3 points fitted; 2 resamples had no fit.",
    ]


def test_verdict_without_paired_differences_claims_nothing():
    assert verdict(MINIMAL)[1:] == [
        "No paired differences were computed for it, so whether it is better than other methods is left open."
    ]


def test_only_falls_beyond_the_intervals_are_told():
    assert declines(FULL) == [
        "Plain best-of-N with the PRM falls from 50.0 % at N = 4 to 22.0 % at N = 64: more samples make its "
        "choice worse."
    ]
    level = SearchReport(RUN, {"majority": {4: around(0.50), 64: around(0.45)}})
    assert declines(level) == []  # 0.46 to 0.54 and 0.41 to 0.49 overlap


def test_summary_fits_a_terminal_and_shows_the_numbers():
    lines = summary_table(FULL).splitlines()
    assert lines[2].split() == ["N=1", "N=4", "N=64"]
    assert lines[3].split() == ["PRM", "weighted", "35.0", "56.0", "85.0"]
    assert lines[4].split() == ["31–39", "52–60", "81–89"]
    assert "+8.0 (+4.0 to +12.0) points        PRM weighted beats majority at N = 4." in lines
    assert (
        "+2.0 (−2.0 to +6.0) points         Beam search cannot be told apart from PRM weighted at N = 4 on "
        "the two hardest quintiles." in lines
    )


def test_costs_add_up():
    total = total_cost(RUN.stages)
    assert (total.wall_seconds, total.cpu_seconds, total.n_generated, total.n_scorer_new) == (
        90.0,
        88.0,
        1500,
        700,
    )


def test_write_report_leaves_a_page_and_its_numbers(tmp_path: Path):
    write_report(FULL, tmp_path / "run" / "report.html")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.json"]
    assert SearchReport.read(tmp_path / "run" / "report.json") == FULL


def test_every_strategy_has_a_name_in_reports_with_each_of_its_votes():
    for name, strategy in STRATEGIES.items():
        rows = {name, f"{name}_tuned", *(f"{name}_{vote}" for vote in strategy.votes[1:])}
        assert rows <= METHODS.keys()


def test_names_at_line_ends_keep_their_order_and_their_distance():
    assert spread_labels([10.0, 50.0], 15, 0, 100) == [10.0, 50.0]
    assert spread_labels([20.0, 20.0, 20.0], 10, 0, 100) == [10.0, 20.0, 30.0]
    assert spread_labels([30.0, 22.0], 10, 0, 100) == [31.0, 21.0]  # centred on 26
    assert spread_labels([98.0, 99.0], 10, 0, 100) == [90.0, 100.0]  # kept inside
    assert spread_labels([1.0, 2.0], 10, 0, 100) == [0.0, 10.0]


def test_axes_have_round_ticks():
    assert [text for _, text in log2_axis([64, 1, 4], "N").ticks] == ["1", "4", "64"]
    assert log2_axis([1, 4, 64], "N").fraction(8) == pytest.approx(0.5)
    assert [text for _, text in decade_axis([60, 7000], "tokens").ticks] == [
        "100",
        "200",
        "500",
        "1k",
        "2k",
        "5k",
    ]
    assert [text for _, text in decade_axis([9e8, 2.5e10], "operations").ticks] == [
        "1G",
        "2G",
        "5G",
        "10G",
        "20G",
    ]
    assert [text for _, text in linear_axis([0.31, 0.96], "", scale=100).ticks] == [
        "20",
        "40",
        "60",
        "80",
        "100",
    ]
    assert [text for _, text in linear_axis([0.45, 0.61], "").ticks] == ["0.45", "0.5", "0.55", "0.6", "0.65"]


def test_numbers_for_people():
    assert [short_count(value) for value in (0, 7, 999, 1200, 34_000, 2_480_000, 3.4e13)] == [
        "0",
        "7",
        "999",
        "1.2 k",
        "34 k",
        "2.5 M",
        "34 T",
    ]
    assert [duration(seconds) for seconds in (3.24, 59.96, 61, 7265)] == [
        "3.2 s",
        "1 min 00 s",
        "1 min 01 s",
        "2 h 01 min",
    ]


def test_a_plot_shows_the_tuned_row_of_a_strategy_and_no_more_lines_than_it_has_room_for() -> None:
    curve = {4: around(0.5)}
    names = (
        "beam",
        "beam_prior",
        "beam_tuned",
        "mcts:c_puct=4",
        "majority",
        "majority_early",
        "prm_weighted_margin",
        "prm_weighted",
    )
    few = SearchReport(RUN, dict.fromkeys((*names, "prm_weighted"), curve))
    assert set(drawn_methods(few)) == {"beam_tuned", "mcts:c_puct=4", "majority", "prm_weighted"}
    many = SearchReport(RUN, dict.fromkeys((*IMPORTANCE, "another"), curve))
    assert set(drawn_methods(many)) == set(IMPORTANCE[:MAX_LINES])
    assert method_label("mcts:c_puct=4:width=2") == "MCTS (c_puct=4, width=2)"
