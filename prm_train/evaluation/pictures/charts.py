"""Charts as inline SVG built by hand: axes, lines with bands and names at their ends, bars, intervals.
`plots` decides what they show.

No plotting library: a chart takes font, colours and dark mode from the style sheet of the page that holds it,
its text stays text, and it is a few kilobytes. It is made at the size at which it is shown, so its letters
are as large as the page's. All lengths are pixels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from prm_train.metrics.estimators import Interval

LABEL_GAP = 15.0  # between two names at the ends of lines
CHARACTER = 6.4  # width of one of such a name
WIDE_INTERVALS = 0.12  # share of the y axis: bands that are wider on average would hide each other
DODGE = 5.0  # between the whiskers of two lines at the same point
MARKER = 2.8  # half the width of a point


@dataclass(frozen=True)
class Axis:
    """The range that an axis shows, the ticks `(value, text)` on it and its title; `marks` are values that
    are told by a line across, as on an axis from left to right. A logarithmic axis needs positive values.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str = ""
    is_log: bool = False
    marks: tuple[tuple[float, str], ...] = ()

    def fraction(self, value: float) -> float:
        """Where `value` lies between the ends of the axis: 0 to 1, values outside are moved to the nearer
        end.
        """
        inside = min(max(value, self.low), self.high)
        low, high, at = (
            (math.log(x) for x in (self.low, self.high, inside))
            if self.is_log
            else (self.low, self.high, inside)
        )
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Frame:
    """Two axes and the rectangle that they span inside a drawing; `inset` is kept free left and right of what
    the axis of x spans.
    """

    x: Axis
    y: Axis
    left: float
    top: float
    width: float
    height: float
    inset: float = 0.0

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def at(self, x: float, y: float) -> tuple[float, float]:
        span = self.width - 2 * self.inset
        return self.left + self.inset + span * self.x.fraction(
            x
        ), self.bottom - self.height * self.y.fraction(y)


@dataclass(frozen=True)
class Series:
    """A line with its 95 % band: points `(x, interval)` by rising x; `style` is the css classes for its
    colour, dashes and points. `keeps_band` says that its band is one however wide it is.
    """

    label: str
    style: str
    points: tuple[tuple[float, Interval], ...]
    keeps_band: bool = False


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An SVG element; text and attribute values are escaped. In attribute names `class_` is class and other
    underscores are hyphens.
    """
    texts = {
        key.rstrip("_").replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else value
        for key, value in attributes.items()
    }
    opening = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in texts.items())
    return Markup("<{0}{1}>{2}</{0}>").format(
        name, opening, Markup("").join(escape(child) for child in children)
    )


def drawing(description: str, width: float, height: float, parts: Iterable[str]) -> Markup:
    """The outer element; `description` is what a screen reader says instead of the picture."""
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return tag("svg", *parts, **size, role="img", aria_label=description)


def log2_axis(values: Iterable[float], title: str) -> Axis:
    """A logarithmic axis with a tick at each of `values`."""
    ticks = sorted(set(values))
    low, high = (ticks[0], ticks[-1]) if len(ticks) > 1 else (ticks[0] / 2, ticks[0] * 2)
    return Axis(low, high, tuple((tick, f"{tick:g}") for tick in ticks), title, is_log=True)


def decade_axis(values: Iterable[float], title: str) -> Axis:
    """A logarithmic axis with ticks at 1, 2 and 5 times the powers of ten, or at the powers alone where it
    spans three of them or more.
    """
    known = sorted(values)
    low, high = known[0] / 1.1, known[-1] * 1.1
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return Axis(
        low,
        high,
        tuple((tick, _short(tick)) for tick in ticks),
        title,
        is_log=True,
    )


def _short(tick: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if tick < 1000:
            return f"{tick:g}{unit}"
        tick /= 1000
    return f"{tick:g}E"


def linear_axis(values: Iterable[float], title: str, scale: float = 1.0) -> Axis:
    """An axis from a round number below `values` to one above them, at most seven steps apart; ticks say
    `scale` times the value.
    """
    known = list(values)
    low, span = min(known), max(max(known) - min(known), 1e-3)
    power = 10.0 ** math.floor(math.log10(span / 6))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 6)
    first, last = math.floor(low / step + 1e-6), math.ceil((low + span) / step - 1e-6)
    return Axis(
        first * step,
        last * step,
        tuple((i * step, f"{scale * i * step:.6g}") for i in range(first, last + 1)),
        title,
    )


def axes(frame: Frame) -> Markup:
    """Grid, ticks and titles; the y title stands above the axis, where it can be read without turning the
    head.
    """
    parts = [tag("text", frame.y.title, class_="axis-title", x=0, y=12)]
    for value, text in frame.y.ticks:
        _, y = frame.at(frame.x.low, value)
        parts += [tag("line", class_="grid", x1=frame.left, x2=frame.right, y1=y, y2=y)]
        parts += [tag("text", text, class_="tick end", x=frame.left - 6, y=y + 4)]
    places = [frame.at(value, frame.y.low)[0] for value, _ in frame.x.ticks]
    every = _label_stride(places, [text for _, text in frame.x.ticks])
    for number, (x, (_, text)) in enumerate(zip(places, frame.x.ticks, strict=True)):
        parts += [tag("line", class_="tick-mark", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 4)]
        if number % every == 0:
            parts += [tag("text", text, class_="tick middle", x=x, y=frame.bottom + 17)]
    for value, text in frame.x.marks:
        x, _ = frame.at(value, frame.y.low)
        parts += [tag("line", class_="mark", x1=x, x2=x, y1=frame.top, y2=frame.bottom)]
        is_right = frame.x.fraction(value) > 0.5
        look, beside = ("tick end", x - 5) if is_right else ("tick", x + 5)
        parts += [tag("text", text, class_=look, x=beside, y=frame.bottom - 8)]
    parts.append(tag("text", frame.x.title, class_="axis-title", x=frame.left, y=frame.bottom + 35))
    return tag("g", *parts)


def _label_stride(places: Sequence[float], texts: Sequence[str]) -> int:
    """At every how many ticks there is room for a text."""
    widest = max((len(text) for text in texts), default=0) * CHARACTER + 4
    for every in range(1, len(places)):
        if all(b - a >= widest for a, b in pairwise(places[::every])):
            return every
    return max(len(places), 1)


def marker(style: str, x: float, y: float, shown: str, size: float = MARKER) -> Markup:
    """A point of the shape that the style names (`m-square`, `m-diamond`, `m-triangle`, `m-down`, `ring`; a
    circle without one) that tells its numbers when pointed at.
    """
    classes, title, r = style.split(), tag("title", shown), size
    corners = {
        "m-square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "m-diamond": ((0, -1.5 * r), (1.5 * r, 0), (0, 1.5 * r), (-1.5 * r, 0)),
        "m-triangle": ((0, -1.4 * r), (1.4 * r, r), (-1.4 * r, r)),
        "m-down": ((0, 1.4 * r), (1.4 * r, -r), (-1.4 * r, -r)),
    }
    for name, offsets in corners.items():
        if name in classes:
            points = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in offsets)
            return tag("polygon", title, class_="dot", points=points)
    return tag("circle", title, class_="dot", cx=x, cy=y, r=2 * r if "ring" in classes else r)


def line(frame: Frame, series: Series, dodge: float | None = None) -> Markup:
    """One line with its intervals, and a point a value. Intervals are a band, or where `dodge` is given
    whiskers: points and whiskers then stand so many pixels to the right of their place.
    """
    shift, is_band = dodge or 0.0, dodge is None and len(series.points) > 1
    centres, upper, lower = (
        [(x + shift, y) for x, y in (frame.at(at, getattr(interval, end)) for at, interval in series.points)]
        for end in ("mean", "high", "low")
    )
    parts = []
    if is_band and upper != lower:
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in upper + lower[::-1])
        parts.append(tag("polygon", class_="band", points=outline))
    elif upper != lower:
        parts += [
            tag("line", class_="whisker", x1=x, x2=x, y1=top, y2=bottom)
            for (x, top), (_, bottom) in zip(upper, lower, strict=True)
            if top != bottom
        ]
    parts.append(tag("polyline", class_="line", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in centres)))
    for (x, y), (value, interval) in zip(centres, series.points, strict=True):
        shown = (
            f"{series.label} at {value:.6g}: {interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
        )
        parts.append(marker(series.style, x, y, shown))
    return tag("g", *parts, class_=f"series {series.style}")


def dodges(frame: Frame, drawn: Sequence[Series]) -> list[float] | None:
    """How far to the right of its place each line stands, where intervals are so wide that bands would hide
    each other; else None.
    """
    widths = [
        abs(frame.y.fraction(interval.high) - frame.y.fraction(interval.low))
        for series in drawn
        if not series.keeps_band
        for _, interval in series.points
        if interval.low < interval.high
    ]
    if len(drawn) < 3 or not widths or sum(widths) / len(widths) <= WIDE_INTERVALS:
        return None
    step = min(DODGE, 0.6 * _least_distance(frame, drawn) / len(drawn))
    return [step * (number - (len(drawn) - 1) / 2) for number in range(len(drawn))]


def _least_distance(frame: Frame, drawn: Iterable[Series]) -> float:
    """Between two neighbouring places of points."""
    places = sorted({frame.at(x, frame.y.low)[0] for series in drawn for x, _ in series.points})
    return min((b - a for a, b in pairwise(places)), default=frame.width)


def end_labels(frame: Frame, ends: Sequence[tuple[float, float, str, str]], margin: float) -> Markup:
    """Names of lines, `(x, y, text, style)` of their ends, in the margin right of the frame: moved apart,
    tied to the ends, and cut where they are longer than it.
    """
    n_most = int((margin - 12) / CHARACTER)
    at = spread_labels([y for _, y, _, _ in ends], LABEL_GAP, frame.top, frame.bottom)
    parts = []
    for (x, y, text, style), label_y in zip(ends, at, strict=True):
        bend, end = max(frame.right, x) + 3, frame.right + 9
        leader = tag(
            "polyline",
            class_="leader",
            points=f"{x + 3:.1f},{y:.1f} {bend:.1f},{y:.1f} {end:.1f},{label_y:.1f}",
        )
        name = text if len(text) <= n_most else f"{text[: n_most - 1]}…"
        parts.append(
            tag("g", leader, tag("text", name, class_="name", x=end + 3, y=label_y + 4), class_=style)
        )
    return tag("g", *parts)


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in the order of the wanted ones, at least `gap` apart and from `low` to `high`, as near to
    the wanted ones as that allows.

    Labels that would overlap become a block, centred where its members want to be on average (least squares,
    as in isotonic regression).
    """
    blocks: list[tuple[float, list[int]]] = []  # first position and members
    for index in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        start, members = wanted[index], [index]
        while blocks and blocks[-1][0] + gap * len(blocks[-1][1]) > start:
            members = blocks.pop()[1] + members
            start = sum(wanted[member] - gap * rank for rank, member in enumerate(members)) / len(members)
        blocks.append((start, members))
    ranked = [
        (start + gap * rank, member) for start, members in blocks for rank, member in enumerate(members)
    ]
    positions = [0.0] * len(wanted)
    lowest = low
    for rank, (at, member) in enumerate(ranked):
        positions[member] = max(min(at, high - gap * (len(ranked) - 1 - rank)), lowest)
        lowest = positions[member] + gap
    return positions


def interval_glyph(interval: Interval, axis: Axis, reference: float, description: str) -> Markup:
    """A dot with its whisker on a small scale, and the line at `reference` that it is to be compared with:
    for a cell of a table.
    """
    width, height = 100.0, 20.0
    low, mean, high, base = (
        6 + (width - 12) * axis.fraction(value)
        for value in (interval.low, interval.mean, interval.high, reference)
    )
    parts = [
        tag("line", class_="zero", x1=base, x2=base, y1=1, y2=height - 1),
        tag("line", class_="interval", x1=low, x2=high, y1=height / 2, y2=height / 2),
        tag("circle", class_="dot", cx=mean, cy=height / 2, r=3),
    ]
    return drawing(description, width, height, parts)


def swatch(style: str) -> Markup:
    """A short piece of a line, for a legend."""
    parts = tag("polyline", class_="line", points="1,6 33,6"), marker(style, 17, 6, "")
    return tag(
        "svg",
        tag("g", *parts, class_=f"series {style}"),
        class_="swatch",
        width="34",
        height="12",
        viewBox="0 0 34 12",
        aria_hidden="true",
    )
