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
    ],
)
def test_a_search_is_spelled_in_one_way(text: str, spelled: str) -> None:
    assert str(parse_strategy(text)) == spelled
    assert parse_strategy(spelled) == parse_strategy(text)
