"""What a notebook shows: on the page, and in the terminal where it runs as a script."""

import marimo as mo

from prm_train.evaluation.pictures.figures import as_file, figure_style
from prm_train.metrics.estimators import Interval


def show(text: str) -> mo.Html:
    """Markdown on the page of a notebook; a script prints it."""
    if not mo.running_in_notebook():
        print(text, end="\n\n")
    return mo.md(text)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """As Markdown, numbers to the right."""
    lines = [header, (":---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(interval: Interval) -> str:
    """A share in per cent with its 95 % interval."""
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def points(interval: Interval) -> str:
    """A difference in percentage points with its 95 % interval."""
    ends = f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    return ends.replace("-", "−")


def interval_words(interval: Interval) -> str:
    """A mean with its 95 % interval."""
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})".replace("-", "−")


def picture(drawing: str) -> mo.Html:
    """A plot of `prm_train.evaluation.pictures`, whose colours are those of a report's page, with its own."""
    return mo.Html(as_file(drawing, figure_style()))
