import pytest

from data_gen.formats.stepwise import Node, RowError, StepwiseRow, paths, take


def test_each_label_of_a_tree_stands_in_one_path() -> None:
    tree = [
        Node("a", True, (Node("b", False), Node("c", True, (Node("d", True), Node("e", None))))),
        Node("f", False),
    ]
    found = [("".join(node.text for node in path.nodes), path.labels) for path in paths(tree)]
    assert found == [
        ("ab", (True, False)),
        ("acd", (None, True, True)),
        ("ace", (None, None, None)),
        ("f", (False,)),
    ]


def test_a_chain_of_ten_thousand_steps_is_one_path() -> None:
    node = Node("end", True)
    for _ in range(9_999):
        node = Node("step", None, (node,))
    (path,) = paths([node])
    assert len(path.nodes) == 10_000


@pytest.mark.parametrize(
    ("prompt", "completions", "labels", "message"),
    [
        (" ", ("a",), (True,), "the prompt is blank"),
        ("q", (), (), "no steps"),
        ("q", ("a", "\n"), (True, True), r"step 1 is blank: '\\n'"),
        ("q", ("a", "b"), (True,), "1 labels for 2 steps"),
        (
            "q",
            ("a",),
            (-100,),
            "label of step 0: got -100, .* a whole number may be a class, a rating or an ignore index",
        ),
        ("q", ("a",), (1,), "label of step 0: got 1,"),
        ("q", ("a",), (1.5,), r"label of step 0: got 1.5, .* a float in \[0, 1\] is a value"),
        ("q", ("a",), (float("nan"),), "label of step 0: got nan"),
        ("q", ("a",), ("+",), "label of step 0: got +"),
        ("q", ("a", "b"), (True, 0.5), "both true or false and numbers"),
    ],
)
def test_what_is_no_row_is_refused(
    prompt: str, completions: tuple[str, ...], labels: tuple[object, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        StepwiseRow(prompt, completions, labels)  # type: ignore[arg-type]  # what a file may hold


def test_take_names_the_field_what_came_and_where() -> None:
    with pytest.raises(
        RowError, match=r"^x\.jsonl:3: no field 'label'; fields present: 'input', 'task'$"
    ) as caught:
        take({"input": "a", "task": "b"}, "label", (str,), "x.jsonl:3")
    assert caught.value.reason == "no field 'label'"
    with pytest.raises(RowError, match="x: field 'index' is no int or null: got bool True"):
        take({"index": True}, "index", (int, type(None)), "x")
