"""Pictures of rows and columns: heat maps, whose cells are shaded by a number, and maps, whose cells have the
colour of what was chosen there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prm_train.evaluation.pictures.charts import CHARACTER, drawing, tag

ROW, HEADER, LINE = 46.0, 64.0, 14.0  # heights of a row, of what stands above the first, of a line of text


@dataclass(frozen=True)
class Tile:
    """A cell: its lines of text, css classes for its colour, how strongly it has it (0 to 1), what it says
    when pointed at, whether it is the best of its row, and what it holds in a table of data.
    """

    texts: tuple[str, ...]
    style: str
    strength: float
    shown: str
    is_best: bool = False
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Rows and columns by their names (of a column two lines), and a tile (None: there is nothing) for each;
    titles stand above, that of the rows first. `value_names` are those of the values of its tiles.
    """

    title: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    tiles: tuple[tuple[Tile | None, ...], ...]
    value_names: tuple[str, ...] = ("value", "low", "high")

    @property
    def table(self) -> tuple[tuple[object, ...], ...]:
        """Its data: a header, and a row a tile."""
        rows = [
            (name, above, below, *tile.values)
            for name, row in zip(self.rows, self.tiles, strict=True)
            for (above, below), tile in zip(self.columns, row, strict=True)
            if tile is not None
        ]
        return ("row", "column", "column_detail", *self.value_names), *rows

    @property
    def spoken(self) -> str:
        """In words: what a screen reader says of it."""
        return " ".join(
            f"{name}: {', '.join(f'{above} {tile.shown}' for (above, _), tile in zip(self.columns, row, strict=True) if tile)}."  # noqa: E501
            for name, row in zip(self.rows, self.tiles, strict=True)
        )


def grid_drawing(grid: Grid, width: float, names: float) -> Markup:
    """`names` is the width of the column that names the rows."""
    column = (width - names) / len(grid.columns)
    parts = [
        tag("text", grid.row_title, class_="axis-title", x=0, y=12),
        tag("text", grid.column_title, class_="axis-title", x=names, y=12),
    ]
    for number, (above, below) in enumerate(grid.columns):
        x = names + column * (number + 0.5)
        parts.append(tag("text", above, class_="cell strong", x=x, y=HEADER - 26))
        parts.append(tag("text", below, class_="tick middle", x=x, y=HEADER - 11))
    for i, (name, row) in enumerate(zip(grid.rows, grid.tiles, strict=True)):
        top = HEADER + ROW * i
        for number, text in enumerate(wrapped(name, int(names / CHARACTER), 2)):
            parts.append(tag("text", text, class_="tick", x=0, y=top + 20 + LINE * number))
        parts += [
            _tile(tile, names + column * j, top, column) for j, tile in enumerate(row) if tile is not None
        ]
    return drawing(f"{grid.title}. {grid.spoken}", width, HEADER + ROW * len(grid.rows) + 4, parts)


def _tile(tile: Tile, left: float, top: float, width: float) -> Markup:
    box = {"x": left + 1, "y": top + 1, "width": width - 2, "height": ROW - 2}
    parts = [tag("rect", class_="tile", **box, fill_opacity=f"{tile.strength:.2f}")]
    if tile.is_best:
        inner = {"x": left + 2.5, "y": top + 2.5, "width": width - 5, "height": ROW - 5}
        parts.append(tag("rect", class_="best-frame", **inner))
    first = top + (ROW - LINE * (len(tile.texts) - 1)) / 2 + 4
    for number, text in enumerate(tile.texts):
        look = "cell strong" if number == 0 else "cell small"
        parts.append(tag("text", text, class_=look, x=left + width / 2, y=first + LINE * number))
    return tag("g", tag("title", tile.shown), *parts, class_=tile.style)


def wrapped(text: str, n_characters: int, n_lines: int) -> list[str]:
    """The text in at most so many lines of so many characters, the last one cut where it is longer."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= n_characters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    kept = [*lines[: n_lines - 1], " ".join(lines[n_lines - 1 :])] if len(lines) > n_lines else lines
    return [line if len(line) <= n_characters else f"{line[: n_characters - 1]}…" for line in kept]


def shades(values: Sequence[float | None], span: float, strongest: float = 0.55) -> list[float]:
    """How strongly each value of a row is coloured: the best of it most, one that is `span` below it not at
    all. Text on the strongest can be read on a light and on a dark page.
    """
    known = [value for value in values if value is not None]
    best = max(known, default=0.0)
    return [0.0 if value is None else strongest * max(0.0, 1 - (best - value) / span) for value in values]
