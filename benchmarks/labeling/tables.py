"""Rewrites the tables of README.md from benchmarks/results/labeling.json: `python -m
benchmarks.labeling.tables`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.labeling.compare import RESULT
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


def cell(figures: Mapping[str, Any]) -> str:
    text = (
        f"{figures['tokens_per_solution']:,.0f} / {figures['exact']:.3f} [{figures['exact_low']:.3f}, "
        f"{figures['exact_high']:.3f}]"
    )
    return text if figures["located"] > 0.9995 else f"{text}, located {figures['located']:.3f}"


def skipping_table(section: Mapping[str, Any]) -> str:
    """What is left out, and what each located error then costs: the test, then what was tried to choose."""
    lines = [
        "| questions | `min_root_share` | `max_solution_rollouts` | left out | tokens an error | exact |",
        "|---|---|---|---|---|---|",
    ]
    wanted = [(0.0, 400), (0.1, 400), (0.25, 400), (0.1, 90), (0.1, 45)]
    tried = {(each["min_root_share"], each["max_solution_rollouts"]): each for each in section["chosen_on"]}
    rows = [("150, tested", section["test"]["neither"]), ("150, tested", section["test"]["both"])]
    for title, point in (*rows, *(("100, to choose on", tried[pair]) for pair in wanted)):
        interval = f"{point['exact']:.3f} [{point['exact_low']:.3f}, {point['exact_high']:.3f}]"
        lines.append(
            f"| {title} | {point['min_root_share']:g} | {point['max_solution_rollouts']} | "
            f"{100 * point['skipped_share']:.0f} % | {point['tokens_per_located']:,.0f} | {interval} |"
        )
    return "\n".join(lines)


def main() -> None:
    report, text = json.loads(RESULT.read_text()), README.read_text()
    for section in ("simulated", "simulated_drift", "simulated_all_wrong", "simulated_skipping", "builtin"):
        if section not in report:
            continue
        begin, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
        if section == "simulated_skipping":
            made = skipping_table(report[section])
        else:
            made = table({"built-in": report["builtin"]} if section == "builtin" else report[section])
        before, rest = text.split(begin)
        text = before + begin + made + "\n" + end + rest.split(end)[1]
    write_text(README, text)


if __name__ == "__main__":
    main()
