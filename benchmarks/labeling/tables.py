"""Rewrites the tables of README.md from benchmarks/results/labeling.json and labels.json: `python -m
benchmarks.labeling.tables`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.labeling.compare import RESULT
from benchmarks.labeling.rounds_figures import RESULT as LABELS
from data_gen.files.jsonl import write_text

README = Path(__file__).parent / "README.md"
NAMES = {
    "brute8": "8 rollouts after every step (Math-Shepherd)",
    "brute16": "16 rollouts after every step",
    "omega8": "binary search, 8 rollouts a probe (OmegaPRM)",
    "first_error8": "the same, stopped at the first success (`first_error`)",
    "sequential": "binary search by sequential tests (`sequential`)",
    "ours": "Bayesian search (`posterior`)",
}


def table(columns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A column a level: tokens for each solution, share of exact hits with its 95 % interval."""
    lines = [f"| method | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, label in NAMES.items():
        if all(name in methods for methods in columns.values()):
            cells = [cell(methods[name]) for methods in columns.values()]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


SHOWN_SHARES = (0.0, 0.07, 0.16)  # of those that were tried to choose


def cell(figures: Mapping[str, Any]) -> str:
    text = (
        f"{figures['tokens_per_solution']:,.0f} / {figures['exact']:.3f} [{figures['exact_low']:.3f}, "
        f"{figures['exact_high']:.3f}]"
    )
    return text if figures["located"] > 0.9995 else f"{text}, located {figures['located']:.3f}"


def choosing_table(section: Mapping[str, Any]) -> str:
    """What is left out, and what each located error then costs: the test, then what was tried to choose."""
    lines = [
        "| questions | `min_root_share` | `n_branches` | left out | branches | tokens an error | exact |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [("150, tested", point) for point in section["test"].values()]
    rows += [
        ("100, to choose on", point)
        for point in section["chosen_on"]
        if point["min_root_share"] in SHOWN_SHARES
    ]
    for title, point in rows:
        cells = (
            title,
            f"{point['min_root_share']:g}",
            str(point["n_branches"]),
            f"{100 * point['skipped_share']:.0f} %",
            f"{100 * point['branches_share']:.0f} %",
            f"{point['tokens_per_located']:,.0f}",
            f"{point['exact']:.3f}"
            + (f" [{point['exact_low']:.3f}, {point['exact_high']:.3f}]" if "exact_low" in point else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def rounds_table(rounds: Mapping[str, Any]) -> str:
    lines = [
        "| arm | tokens | of today's | first errors | exact | AUROC within problems | minus today's | "
        "tokens to those of today at equal AUROC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in rounds["arms"].items():
        equal = arm.get("tokens_ratio_at_equal_auroc")
        cells = (
            f"`{name}`",
            f"{arm['tokens']:,}",
            f"{100 * arm['tokens_to_today']:.0f} %",
            f"{arm['n_located']:,}",
            f"{arm['exact']:.2f}",
            with_interval(arm["auroc"], ".3f"),
            with_interval(arm["auroc_minus_today"], "+.3f"),
            with_interval(equal, ".2f") if equal else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_interval(figure: Mapping[str, float], style: str) -> str:
    return f"{figure['mean']:{style}} [{figure['low']:{style}}, {figure['high']:{style}}]"


def main() -> None:
    report, text = json.loads(RESULT.read_text()), README.read_text()
    made = {
        section: table(report[section])
        for section in ("simulated", "simulated_drift", "simulated_all_wrong")
        if section in report
    }
    if "simulated_choosing" in report:
        made["simulated_choosing"] = choosing_table(report["simulated_choosing"])
    if "builtin" in report:
        made["builtin"] = table({"built-in": report["builtin"]})
    labels = json.loads(LABELS.read_text()) if LABELS.exists() else {}
    if "rounds" in labels:
        made["rounds"] = rounds_table(labels["rounds"])
    for section, lines in made.items():
        begin, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
        before, rest = text.split(begin)
        text = before + begin + lines + "\n" + end + rest.split(end, 1)[1]
    write_text(README, text)


if __name__ == "__main__":
    main()
