"""docs/rl_figures.md, of what `figures` found."""

from collections.abc import Mapping
from typing import Any

WORDS = {
    "base": "the policy before",
    "outcome": "right answers alone",
    "cold_start": "the same after SFT on own right solutions",
    "orm": "right answers and an ORM",
    "orm_alone": "an ORM, no answers",
    "min": "step credit `min`",
    "min_alone": "step credit `min`, no answers",
    "advantage": "step credit `advantage`",
    "outcome_centred": "step credit `outcome_centred`",
    "gate": "step credit `gate`",
    "filter": "step credit `filter`",
    "hacked_sum": "raw sum of scores, no answers",
}


def page(found: Mapping[str, Any], command: str) -> str:
    """As Markdown."""
    n = found["seeds"]
    seeds = ", ".join(map(str, found["seed_numbers"]))
    lines = [
        "# RL with a verifier: figures",
        "",
        f"Made by `{command}`.",
        "What is asked, and what counts as an answer, was written down before:",
        "[rl_analysis.md](rl_analysis.md).",
        f"{n} seed{'s' * (n > 1)} ({seeds}), each with problems, draws and verifiers of its own;",
        f"{found['settings']['n_steps']:g} optimizer steps of {found['settings']['n_completions']:g} "
        f"completions, learning rate {found['settings']['learning_rate']:g}. Brackets: 95 % over seeds.",
        "",
        "## Steps",
        "",
        "| rewarded | greedy before | at the end | above right answers alone | steps to the level "
        "| ratio to right answers alone | seeds that never reach it |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, steps in found["steps"].items():
        accuracy = found["accuracy"][arm]
        numbers = ", ".join(f"{each:g}" for each in steps["steps"])
        cells = [
            WORDS[arm],
            percent(accuracy["before"]),
            percent(accuracy["end"]),
            percent(accuracy["above_outcome"], signed=True),
            numbers,
            ratio(steps["ratio"]),
            str(steps["n_never"]),
        ]
        lines.append(row(*cells))
    lines += ["", "## What the policy can do afterwards", "", SEARCH_HEADER, "|---|---|---|---|---|"]
    for arm, measures in found["searched"].items():
        cells = [WORDS[arm]]
        for name in ("greedy", "pass_at_1", "pass_at_64", "weighted_16"):
            change = measures.get(f"{name}_above_base")
            cells.append(percent(measures[name]) + (f"; {percent(change, signed=True)}" if change else ""))
        lines.append(row(*cells))
    lines += [
        "",
        "Behind the semicolon: above the policy before, on the same problems.",
        "",
        "## Collapse",
        "",
        "| rewarded | seeds that collapsed | tokens of a completion, first → last | steps | PRM's AUROC |",
        "|---|---|---|---|---|",
    ]
    for arm, each in found["collapse"].items():
        n_collapsed = sum(seed["collapsed"] for seed in each)
        cells = [WORDS[arm], f"{n_collapsed} of {len(each)}"]
        cells += [arrows(each, name) for name in ("tokens", "steps", "auroc")]
        lines.append(row(*cells))
    lines += [
        "",
        "## Cost of a training",
        "",
        "| rewarded | generated tokens | CPU-seconds |",
        "|---|---|---|",
    ]
    for arm, cost in found["cost"].items():
        lines.append(row(WORDS[arm], f"{cost['n_generated']:,}", f"{cost['cpu_seconds']:,.0f}"))
    return "\n".join(lines) + "\n"


SEARCH_HEADER = "| rewarded | greedy | pass@1 | pass@64 | weighted best-of-16 |"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def percent(value: Mapping[str, float | None], signed: bool = False) -> str:
    sign = "+" if signed else ""
    text = f"{100 * (value['mean'] or 0.0):{sign}.1f}"
    if value["low"] is None or value["high"] is None:
        return text
    return f"{text} ({100 * value['low']:{sign}.1f} to {100 * value['high']:{sign}.1f})"


def ratio(value: Mapping[str, float | None]) -> str:
    text = f"{value['mean']:.2f}"
    if value["low"] is None or value["high"] is None:
        return text
    return f"{text} ({value['low']:.2f} to {value['high']:.2f})"


def arrows(seeds: list[dict[str, Any]], name: str) -> str:
    """Means over seeds of the first and of the last looks."""
    pairs = [seed[name] for seed in seeds if seed[name] is not None]
    if not pairs:
        return "–"
    first, last = (sum(pair[i] for pair in pairs) / len(pairs) for i in (0, 1))
    return f"{first:.3g} → {last:.3g}"
