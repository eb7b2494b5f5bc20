"""How a search in a tree is asked for."""

import pytest

from prm_train.strategies.tree_searches import parse_strategy


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("beam", "beam"),
        ("rebase:balance_temperature=1.0", "rebase:balance_temperature=1"),
        ("rebase:balance_temperature=1", "rebase:balance_temperature=1"),
        ("particle_filter:exponent=.5:temperature=7e-1", "particle_filter:exponent=0.5:temperature=0.7"),
        ("beam:width=8:survivors=sampled", "beam:width=8:survivors=sampled"),
        ("beam:reanchor=04", "beam:reanchor=4"),
    ],
)
def test_a_search_is_spelled_in_one_way(text: str, spelled: str) -> None:
    assert str(parse_strategy(text)) == spelled
    assert parse_strategy(spelled) == parse_strategy(text)


def test_a_search_that_is_anchored_again_votes_by_its_weights_and_says_so_in_its_settings() -> None:
    assert parse_strategy("beam").votes == ("score", "prior")
    spec = parse_strategy("beam:reanchor=4")
    assert spec.votes == ("weight", "score", "prior")
    assert "reanchor" not in parse_strategy("beam").settings()
    assert spec.settings()["reanchor"] == 4
    assert spec.config(8, spec.settings()) == parse_strategy("beam").config(8, {})


@pytest.mark.parametrize("text", ["beam:reanchor=0", "revisions:reanchor=2"])
def test_only_a_search_in_a_tree_is_anchored_again_and_by_some_rollout(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"reanchor: got 0, expected 1 or more|got 'reanchor=2', expected one"
    ):
        parse_strategy(text)
