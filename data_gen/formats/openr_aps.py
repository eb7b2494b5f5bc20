"""The two formats of openr's OmegaPRM: a question's measured prefixes in a flat list, or as a tree. Targets
are Monte Carlo values.

    {"question": ..., "final_answer": "3", "question_id": 0, "reasoning_steps": [
        {"solution_prefix": "<question>", "mc_value": 0.9375}, {"solution_prefix": "<question>\\n\\n<step>", "mc_value": 0.5}, ...]}
    {..., "reasoning_steps": {"text": "<question>", "mc_value": 0.9375, "children": [{"text": "<step>", "mc_value": 0.5, "children": []}]}}

A flat prefix belongs below the longest other prefix that it continues after a blank line; a step is what it
adds, without outer blanks. Rows are the paths from the question to each leaf, each value in one row (see
`stepwise.paths`); the value of the question itself is kept as `root_value`. openr's own converters turn a
value into + above 0.5 (the paper: above 0), read the flat list as one-step solutions with the question inside
the step, and drop every text with a letter outside ASCII: nothing of that happens here.

Known of these sets: a prefix may be measured twice (both values are kept, in rows of their own), and a
rollout that was right is one large last step with value 1.0 that was never measured.
"""  # noqa: E501

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.formats.stepwise import Node, Reading, RowError, StepwiseRow, others, paths, stepwise, take

_GAP = "\n\n"
_MAX_DEPTH = 300  # steps; deeper trees are damage, and Python's own stack has an end


@dataclass(frozen=True)
class MeasuredPrefix:
    """Question and solution so far, and the fraction of rollouts from there that were right."""

    solution_prefix: str
    mc_value: float


@dataclass(frozen=True)
class MeasuredNode:
    """A step (at the root: the question), the value after it, and the steps that were tried next."""

    text: str
    mc_value: float
    children: tuple["MeasuredNode", ...]


@dataclass(frozen=True)
class SearchedQuestion:
    """A source row; `measured` is the root of a tree or the prefixes of the flat format."""

    question: str
    measured: MeasuredNode | tuple[MeasuredPrefix, ...]
    other: Mapping[str, Any]


def read_flat_row(fields: Mapping[str, Any], where: str) -> Reading:
    searched = parse_flat(fields, where)
    assert isinstance(searched.measured, tuple)
    root_values, first_steps, left_out = _tree_of_prefixes(searched.question, searched.measured, where)
    return _reading(searched, root_values, first_steps, left_out, where)


def read_tree_row(fields: Mapping[str, Any], where: str) -> Reading:
    searched = parse_tree(fields, where)
    root = searched.measured
    assert isinstance(root, MeasuredNode)
    if root.text.strip() != searched.question.strip():
        raise RowError(
            where, "the root is not the question", f": {root.text[:60]!r} against {searched.question[:60]!r}"
        )
    left_out = Counter[str]()
    return _reading(searched, [root.mc_value], tuple(_nodes(root.children, left_out)), left_out, where)


def write_flat_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Raises RowError unless every step has a value."""
    values = _values(row, where)
    ends = range(1, len(values) + 1)
    prefixes = [
        MeasuredPrefix(_GAP.join((row.prompt, *row.completions[:end])), values[end - 1]) for end in ends
    ]
    if "root_value" in row.extra:
        prefixes.insert(0, MeasuredPrefix(row.prompt, row.extra["root_value"]))
    return dump_flat(SearchedQuestion(row.prompt, tuple(prefixes), others(row.extra, "root_value")))


def write_tree_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Raises RowError unless every step, and the question (`root_value`), has a value."""
    values = _values(row, where)
    if "root_value" not in row.extra:
        raise RowError(where, "no value for the question", " (root_value), which the root of a tree needs")
    children: tuple[MeasuredNode, ...] = ()
    for text, value in zip(reversed(row.completions), reversed(values), strict=True):
        children = (MeasuredNode(text, value, children),)
    root = MeasuredNode(row.prompt, row.extra["root_value"], children)
    return dump_tree(SearchedQuestion(row.prompt, root, others(row.extra, "root_value")))


def _values(row: StepwiseRow, where: str) -> list[float]:
    values = [label for label in row.labels if isinstance(label, float)]
    if len(values) != len(row.labels):
        raise RowError(
            where,
            "a step without a value",
            f": {list(row.labels)}; mc_value is a fraction of rollouts, which a label is not",
        )
    return values


# --- the source rows, without loss


def parse_flat(fields: Mapping[str, Any], where: str) -> SearchedQuestion:
    stored = take(fields, "reasoning_steps", (list,), where)
    prefixes = []
    for number, each in enumerate(stored):
        place = f"{where}: prefix {number}"
        if type(each) is not dict or len(each) != 2:
            raise RowError(place, "not a solution_prefix and an mc_value", f": {each!r:.60}")
        prefixes.append(MeasuredPrefix(take(each, "solution_prefix", (str,), place), _mc_value(each, place)))
    return SearchedQuestion(
        take(fields, "question", (str,), where),
        tuple(prefixes),
        others(fields, "question", "reasoning_steps"),
    )


def dump_flat(searched: SearchedQuestion) -> dict[str, Any]:
    """The JSON object that `parse_flat` read."""
    assert isinstance(searched.measured, tuple)
    steps = [
        {"solution_prefix": each.solution_prefix, "mc_value": each.mc_value} for each in searched.measured
    ]
    return _dump(searched, steps)


def parse_tree(fields: Mapping[str, Any], where: str) -> SearchedQuestion:
    root = _parse_node(take(fields, "reasoning_steps", (dict,), where), where, 0)
    return SearchedQuestion(
        take(fields, "question", (str,), where), root, others(fields, "question", "reasoning_steps")
    )


def dump_tree(searched: SearchedQuestion) -> dict[str, Any]:
    """The JSON object that `parse_tree` read."""
    assert isinstance(searched.measured, MeasuredNode)

    def dumped(node: MeasuredNode) -> dict[str, Any]:
        return {
            "text": node.text,
            "mc_value": node.mc_value,
            "children": [dumped(child) for child in node.children],
        }

    return _dump(searched, dumped(searched.measured))


def _dump(searched: SearchedQuestion, steps: Any) -> dict[str, Any]:
    """In openr's order of the fields: final_answer before the steps, the rest behind."""
    answer = {name: value for name, value in searched.other.items() if name == "final_answer"}
    return {
        "question": searched.question,
        **answer,
        "reasoning_steps": steps,
        **others(searched.other, "question", "final_answer", "reasoning_steps"),
    }


def _parse_node(stored: Any, where: str, depth: int) -> MeasuredNode:
    if depth > _MAX_DEPTH:
        raise RowError(where, f"a tree deeper than {_MAX_DEPTH} steps")
    if type(stored) is not dict or len(stored) != 3:
        raise RowError(where, "not a text, an mc_value and children", f": {stored!r:.60}")
    text, children = take(stored, "text", (str,), where), take(stored, "children", (list,), where)
    return MeasuredNode(
        text, _mc_value(stored, where), tuple(_parse_node(child, where, depth + 1) for child in children)
    )


def _mc_value(stored: Mapping[str, Any], where: str) -> float:
    value = take(stored, "mc_value", (float, int), where)
    if not 0 <= value <= 1:
        raise RowError(where, "mc_value is no fraction", f": got {str(value)[:40]}, expected 0 to 1")
    return float(value)


# --- trees of steps


def _reading(
    searched: SearchedQuestion,
    root_values: Sequence[float],
    first_steps: tuple[Node, ...],
    left_out: Counter[str],
    where: str,
) -> Reading:
    extra = {**searched.other, **({"root_value": root_values[0]} if root_values else {})}
    if len(root_values) > 1:
        left_out["value of the question, measured again"] += len(root_values) - 1
    if not first_steps:
        left_out["question without steps"] += 1
    rows = [
        stepwise(where, searched.question, [node.text for node in path.nodes], path.labels, extra)
        for path in paths(first_steps)
    ]
    return Reading(tuple(rows), left_out)


def _nodes(children: Sequence[MeasuredNode], left_out: Counter[str]) -> Iterator[Node]:
    """Steps without outer blanks; a blank one (a rollout that ended where it began) is left out and its
    children take its place.
    """
    for child in children:
        below = tuple(_nodes(child.children, left_out))
        if child.text.strip():
            yield Node(child.text.strip(), child.mc_value, below)
        else:
            left_out["blank step"] += 1
            yield from below


def _tree_of_prefixes(
    question: str, prefixes: Sequence[MeasuredPrefix], where: str
) -> tuple[list[float], tuple[Node, ...], Counter[str]]:
    """Values of the question itself, the first steps, counts. Sorted by text, a prefix comes just before all
    that continue it.
    """
    for each in prefixes:
        if each.solution_prefix != question and not each.solution_prefix.startswith(question + _GAP):
            raise RowError(
                where, "a prefix does not begin with the question", f": {each.solution_prefix[:60]!r}"
            )
    measured = [each for each in prefixes if each.solution_prefix != question]
    places = sorted(range(len(measured)), key=lambda place: (measured[place].solution_prefix, place))
    below: dict[int | None, list[int]] = {None: []}
    begun: list[int] = []  # places of the texts that the present one begins with
    for place in places:
        text = measured[place].solution_prefix
        while begun and not text.startswith(measured[begun[-1]].solution_prefix):
            begun.pop()
        parent = next(
            (other for other in reversed(begun) if text.startswith(measured[other].solution_prefix + _GAP)),
            None,
        )
        below.setdefault(parent, []).append(place)
        begun.append(place)
    left_out = Counter[str]()

    def nodes(places_below: list[int], n_before: int) -> tuple[MeasuredNode, ...]:
        found = []
        for place in sorted(places_below):  # as in the file
            text = measured[place].solution_prefix
            found.append(
                MeasuredNode(
                    text[n_before:], measured[place].mc_value, nodes(below.get(place, []), len(text))
                )
            )
        return tuple(found)

    first_steps = tuple(_nodes(nodes(below[None], len(question)), left_out))
    return [each.mc_value for each in prefixes if each.solution_prefix == question], first_steps, left_out
