"""What a router is worth, as a person reads it on a terminal."""

from collections.abc import Iterator

from prm_train.evaluation.findings import points
from prm_train.metrics.estimators import Interval
from prm_train.routing.report import RoutePoint, RouteReport
from prm_train.routing.thresholds import N_SCORES, NEVER
from prm_train.search.routing.router import Router


def route_table(report: RouteReport, router: Router) -> str:
    left_out = f" ({report.n_failed} that failed are left out)" if report.n_failed else ""
    estimate = f"pass@1 of the prompt from {router.simple_from:.2f}" if router.fit else "every question"
    estimate = estimate if router.simple_from <= 1 else "no question"
    searches = ", then ".join((*report.stages, "; ".join(report.complex_path)))
    lines = [
        f"fitted on {report.n_fitted} problems, judged on {report.n_judged} {report.judged_on}{left_out}; "
        f"costs in {report.unit} a problem",
        f"simple path: {estimate}; its answer stands from a score of {_score(router.accept_from)}",
        *([f"the large policy answers {report.large_share:.1%}"] if router.large_from is not None else []),
        f"complex path: {searches}; without a router: {report.reference_path}",
        "",
        f"  {'':<24}{'% solved':>22}{report.unit:>14}{'simple path':>14}",
        _row("router", report, report.router),
        _row("without a router", report, report.reference),
        _row(
            "always its last search" if report.stages else "always the complex path",
            report,
            report.always_complex,
        ),
        _row("always the simple path", report, report.always_simple),
        "",
        *(f"{unit} saved: {_percent(saved)}" for unit, saved in report.saved.items()),
        f"accuracy against no router: {_points(report.accuracy_difference)}",
        f"against a mix by lot at the same cost: {_points(report.over_mix)}",
        "",
        *_wrong_lines(report),
        "",
        f"curve: stands from a score of, % solved, {report.unit}",
        *_curve_lines(report),
    ]
    return "\n".join(lines)


def _score(score: float) -> str:
    return "never" if score >= NEVER else f"{score:.4f}"


def _row(name: str, report: RouteReport, point: RoutePoint) -> str:
    accuracy = _percent(point.accuracy)
    return f"  {name:<24}{accuracy:>22}{point.cost[report.unit]:>14,.4g}{point.simple_share:>14.0%}"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _points(interval: Interval) -> str:
    return f"{points(interval.mean)} ({points(interval.low)} to {points(interval.high)}) points"


def _curve_lines(report: RouteReport) -> Iterator[str]:
    """A line in four, and the last."""
    for each in report.curve[:: max(1, N_SCORES // 10)]:
        cost = each.point.cost[report.unit]
        yield f"  {_score(each.accept_from):>7}{100 * each.point.accuracy.mean:>8.1f}{cost:>12,.4g}"


def _wrong_lines(report: RouteReport) -> Iterator[str]:
    wrong = report.wrong
    yield (
        f"routed wrongly: {wrong.n_wrong_simple:.1f} of {report.n_judged} got the simple path, which was "
        f"wrong where the complex one was right ({_percent(wrong.wrong_simple)});"
    )
    yield (
        f"{wrong.n_right_complex:.1f} got the complex path though the simple one was right: for their prompt "
        f"{_percent(wrong.hard_right)}, for its score {_percent(wrong.unsure_right)}; it spoiled "
        f"{_percent(wrong.spoiled)}"
    )
    if report.stages and wrong.wrong_stage is not None:
        yield (
            "a search before the last ended the complex path though its answer was wrong and what follows is "
            f"right: {_percent(wrong.wrong_stage)}"
        )
