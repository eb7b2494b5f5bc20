"""docs/thinking_figures.md, of what `figures` found."""

from collections.abc import Mapping
from typing import Any


def page(found: Mapping[str, Any]) -> str:
    """As Markdown."""
    n = found["seeds"]
    lines = [
        "# Thinking: figures",
        "",
        f"Made by `{found['command']}`.",
        "What is asked stands in [thinking.md](thinking.md), "
        f"{n} seed{'s' * (n > 1)}, {found['n_problems']} test problems each, "
        f"{found['n_draws']} solutions of a problem with each effort.",
        "Brackets: 95 % over problems and seeds.",
        "",
        "## Budget forcing",
        "",
        "`cut n`: a thought is ended after n tokens. `forced n`: one that would end before n tokens goes on",
        "after `Wait`. `natural`: the policy ends it.",
        "",
        *effort_table(found["budget"]),
        "",
        "## A penalty on switching thoughts",
        "",
        "Nats taken from the logits of `Wait` at the beginning of every line of thought.",
        "",
        *effort_table(found["penalty"]),
        "",
        "## By difficulty",
        "",
        "Fifths of the problems, by natural solutions that nothing else here uses; 1 is the easiest.",
        "",
        "| fifth | natural: right | tokens | first attempt right | lost | gained | underthinking "
        "| `cut 40` above natural | `forced 300` above natural |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, fifth in enumerate(found["by_difficulty"], 1):
        natural = fifth["natural"]
        lines.append(
            row(
                str(number),
                percent(natural["accuracy"]),
                f"{natural['tokens']:.0f}",
                *(
                    f"{100 * natural[name]:.1f}"
                    for name in ("first_right", "lost", "gained", "underthinking")
                ),
                percent(fifth["least"]["above_natural"], signed=True),
                percent(fifth["most"]["above_natural"], signed=True),
            )
        )
    lines += [
        "",
        "## Effort by predicted difficulty",
        "",
        "An effort of at least 20 tokens for each fifth of predicted difficulty, chosen on validation",
        "problems at no more tokens than the fixed effort took there.",
        "",
        "| fixed effort | its tokens | tokens of the adaptive one | adaptive above fixed |",
        "|---|---|---|---|",
    ]
    for name, each in found["adaptive"].items():
        cells = (f"`{name}`", f"{each['tokens_of_fixed']:.0f}", f"{each['tokens']:.0f}")
        lines.append(row(*cells, percent(each["above_fixed"], signed=True)))
    return "\n".join(lines) + "\n"


def effort_table(efforts: Mapping[str, Any]) -> list[str]:
    lines = [
        "| effort | right | above natural | tokens | attempts | first attempt right | lost | gained "
        "| underthinking |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in efforts.items():
        lines.append(
            row(
                f"`{name}`",
                percent(each["accuracy"]),
                percent(each["above_natural"], signed=True),
                f"{each['tokens']:.0f}",
                f"{each['attempts']:.2f}",
                *(f"{100 * each[key]:.1f}" for key in ("first_right", "lost", "gained", "underthinking")),
            )
        )
    return lines


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def percent(value: Mapping[str, float], signed: bool = False) -> str:
    sign = "+" if signed else ""
    low, high = (f"{100 * value[name]:{sign}.1f}" for name in ("low", "high"))
    return f"{100 * value['mean']:{sign}.1f} ({low} to {high})"
