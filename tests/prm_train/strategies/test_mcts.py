"""Monte Carlo tree search against a policy and a scorer whose every answer is written down here, and PUCT by
hand.
"""

import math
from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.candidates import Candidate
from prm_train.strategies.mcts import MctsConfig, Node, expand, mcts, puct, select
from prm_train.strategies.paths import SearchPath
from tests.scripted_search import ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: MctsConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(mcts, config=config), policy, scorer, folder)


def open_path(text: str, score: float) -> SearchPath:
    return SearchPath(text=text, scores=(score,))


def tree_of_three() -> tuple[Node, list[Node]]:
    """Four draws: a twice (0.5), b (0.6), c (0.2)."""
    root = Node(SearchPath())
    family = [open_path("a", 0.5), open_path("b", 0.6), open_path("a", 0.5), open_path("c", 0.2)]
    expand(root, family, "min")
    return root, root.children


def test_puct_by_hand():
    """Q + c P sqrt(4) / (1 + n)."""
    root, children = tree_of_three()
    assert [(node.path.text, node.n_visits, node.prior) for node in children] == [
        ("a", 2, 0.5),
        ("b", 1, 0.25),
        ("c", 1, 0.25),
    ]
    assert [puct(node, 1.0) for node in children] == pytest.approx([0.5 + 1 / 3, 0.6 + 0.25, 0.2 + 0.25])
    assert [puct(node, 0.0) for node in children] == pytest.approx([0.5, 0.6, 0.2])
    assert (root.n_visits, root.n_leaves) == (4, 3)
    assert root.value_sum == pytest.approx(1.8)
    expand(children[1], [open_path("bd", 0.9), open_path("be", 0.3)], "min")
    # b: 0.6, 0.9 and 0.3 in three visits of six
    assert puct(children[1], 1.0) == pytest.approx(0.6 + 0.25 * math.sqrt(6) / 4)
    assert root.n_visits == 6


def test_a_virtual_loss_sends_the_next_selection_elsewhere():
    """b has 0.6 in three visits, below it two leaves; after the first is selected 1.8 in five, less than a's
    0.5.
    """
    root = Node(SearchPath())
    expand(root, [open_path("a", 0.5), open_path("b", 0.6)], "min")
    a, b = root.children
    expand(b, [open_path("bc", 0.7), open_path("bd", 0.5)], "min")
    assert select(root, 4, MctsConfig(width=2, c_puct=0.0)) == [b.children[0], a]
    assert (b.n_visits, root.n_visits) == (5, 4 + 2 + 2)
    assert b.value_sum == pytest.approx(1.8)


def test_as_many_leaves_are_selected_as_share_the_places():
    for n_places, n_leaves in ((1, 1), (2, 1), (3, 2), (100, 3)):
        root, _ = tree_of_three()
        assert len(select(root, n_places, MctsConfig(width=2))) == n_leaves
        assert root.n_leaves == 3 - n_leaves


def test_a_branch_in_which_all_paths_have_ended_is_never_selected():
    root, (a, b, c) = tree_of_three()
    b.count(n_leaves=-1)
    ended = SearchPath(text="b!", scores=(1.0,), finish_reason="eos")  # type: ignore[arg-type]
    expand(b, [ended], "min")
    assert b.n_visits == 2  # it counts in the mean all the same
    assert select(root, 100, MctsConfig(width=50)) == [a, c]


def test_values_found_below_a_path_send_the_search_back(tmp_path: Path):
    script = {"": ["a\n", "b\n"], "a\n": ["c\n", "d\n"], "b\n": ["Answer: 2", "Answer: 3"]}
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scores = {"a": 0.9, "b": 0.6, "c": 0.1, "d": 0.2, "Answer: 2": 0.7, "Answer: 3": 0.6}
    candidates = search(
        policy,
        ScriptedScorer(lambda steps: scores[steps[-1]]),
        MctsConfig(n=2, width=2, aggregation="last", c_puct=0.1),
        tmp_path,
    )
    # a has (0.9 + 0.1 + 0.2) / 3 = 0.4 now
    assert policy.asked[2:] == [("a\n", 0), ("a\n", 1), ("b\n", 0), ("b\n", 1)]
    assert [candidate.text for candidate in candidates] == ["b\nAnswer: 2", "b\nAnswer: 3"]
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx([1 / 4 * 0.7, 1 / 4 * 0.6])


@pytest.mark.parametrize(("c_puct", "second"), [(0.1, "a\n"), (10.0, "b\n")])
def test_exploration_makes_the_search_broader(tmp_path: Path, c_puct: float, second: str):
    """After a, whose two next steps are as good: Q 0.9 against 0.5, U c / 2 x 2 / 4 against c / 2 x 2 / 2."""
    policy = ScriptedPolicy(lambda so_far, index: "ab"[index] + "\n" if not so_far else f"{index}\n")
    scorer = ScriptedScorer(lambda steps: {"a": 0.9, "b": 0.5}[steps[0]])
    search(policy, scorer, MctsConfig(n=2, width=2, max_steps=3, c_puct=c_puct), tmp_path)
    assert policy.asked[2:4] == [("a\n", 0), ("a\n", 1)]
    assert policy.asked[4][0].startswith(second)


def test_paths_that_never_end_cost_n_draws_a_round_and_are_unfinished(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: f"{index}\n")
    candidates = search(
        policy, ScriptedScorer(lambda steps: 0.5), MctsConfig(n=4, width=2, max_steps=3), tmp_path
    )
    assert len(policy.asked) == 4 * 3
    assert [each.is_finished for each in candidates] == [False, False]
