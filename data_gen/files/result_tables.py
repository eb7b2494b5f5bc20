"""What commands say at their end, as a person reads it; all of it, in full, is in the JSON beside the
results.

solutions   240: 139 correct, 98 incorrect, 3 unknown (truncated)
tokens      10,023 generated, 1,200 prefilled, 8,800 from the cache; 41.8 a label
"""

import textwrap
from collections.abc import Iterable, Mapping

from data_gen.records.sampling import Usage

WIDTH = 79


def result_table(rows: Mapping[str, str]) -> str:
    """A line for each name and its words, wrapped beside the name; empty words are left out."""
    shown = {name: words for name, words in rows.items() if words}
    indent = 4 + max(map(len, shown), default=0)
    lines = []
    for name, words in shown.items():
        head = f"  {name:<{indent - 2}}"
        lines += textwrap.wrap(
            words,
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def counted(counts: Mapping[str, int]) -> str:
    """`139 correct, 98 incorrect, 3 unknown (truncated)` of `{"correct": 139, …, "unknown:truncated": 3}`,
    the most frequent first.
    """
    words = []
    for name, n in sorted(counts.items(), key=lambda item: -item[1]):
        kind, _, reason = name.partition(":")
        words.append(f"{n:,} {kind.replace('_', ' ')}" + (f" ({reason.replace('_', ' ')})" if reason else ""))
    return ", ".join(words)


def token_words(usage: Usage, per: str = "") -> str:
    """Of tokens of a policy; `per` adds what one of something took."""
    words = (
        f"{usage.n_generated:,} generated, {usage.n_prefilled:,} prefilled, {usage.n_cached:,} from the cache"
    )
    return f"{words}; {per}" if per else words


def number_table(numbers: Mapping[str, float], n_columns: int = 2) -> str:
    """Names and numbers, `n_columns` of them a line, read line by line."""
    names = max((len(name) for name in numbers), default=0)
    cells = [
        f"{name.replace('_', ' '):<{names}} {shown_number(number):>9}" for name, number in numbers.items()
    ]
    return "\n".join("  " + "    ".join(line) for line in _groups(cells, n_columns))


def shown_number(number: float) -> str:
    if isinstance(number, int) or (number.is_integer() and abs(number) >= 1000):
        return f"{number:,.0f}"
    return f"{number:.4f}" if abs(number) < 1000 else f"{number:,.1f}"


def _groups(cells: list[str], n: int) -> Iterable[list[str]]:
    return (cells[start : start + n] for start in range(0, len(cells), n))
