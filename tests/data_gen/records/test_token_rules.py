from typing import Any

import pytest

from data_gen.records.sampling import SamplingParams
from data_gen.records.token_rules import TokenRules, check_known_ids


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"banned_ids": (3, -1)}, "banned_ids: got id -1, expected whole numbers of 0 or more"),
        ({"allowed_ids": (1.5,)}, "allowed_ids: got id 1.5, expected whole numbers"),
        ({"biases": (("5", 1.0),)}, "biases: got id '5', expected whole numbers"),
        (
            {"biases": ((5, float("nan")),)},
            "biases: got nan for id 5, expected more than -100 and at most 100",
        ),
        ({"biases": ((5, -100.0),)}, "biases: got -100.0 for id 5, .* belongs in banned_ids"),
        ({"biases": ((5, 100.5),)}, "biases: got 100.5 for id 5"),
        ({"biases": ((5, 1.0), (5, 2.0))}, "biases: got ids 5, 5, expected each id once"),
        ({"banned_ids": (4, 2), "allowed_ids": (2, 3)}, "banned_ids, allowed_ids: got 2 in both"),
        ({"banned_ids": (4,), "biases": ((4, 1.0),)}, "got a bias for id 4, which may not be drawn at all"),
        ({"allowed_ids": (4,), "biases": ((5, 1.0),)}, "got a bias for id 5, which may not be drawn at all"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(8, **rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (TokenRules(banned_ids=(2, 10)), r"banned_ids: got id 10, expected ids in \[0, 4\)"),
        (TokenRules(allowed_ids=(4,)), "allowed_ids: got id 4, expected"),
        (TokenRules(biases=((9, 1.0),)), "biases: got id 9, expected"),
        (TokenRules(banned_ids=(0, 1, 2, 3, 3)), "banned_ids: got all 4 ids of the vocabulary"),
    ],
)
def test_ids_that_a_vocabulary_lacks_and_a_ban_of_all_of_it_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        check_known_ids(rules, 4)


def test_rules_are_part_of_the_hash_as_what_they_do_and_only_where_they_are_given():
    plain = SamplingParams(8)
    assert SamplingParams(8, biases=((3, 0.0),)).params_hash == plain.params_hash
    assert (
        SamplingParams(8, banned_ids=(2, 1, 2), biases=((4, 1), (3, -2.5))).params_hash
        == SamplingParams(8, banned_ids=(1, 2), biases=((3, -2.5), (4, 1.0))).params_hash
    )
    different = [
        plain,
        SamplingParams(8, banned_ids=(1,)),
        SamplingParams(8, allowed_ids=(1,)),
        SamplingParams(8, biases=((1, 1.0),)),
        SamplingParams(8, biases=((1, 2.0),)),
        SamplingParams(8, 0.0),
        SamplingParams(8, 0.0, banned_ids=(1,)),  # which changes greedy draws
    ]
    assert len({params.params_hash for params in different}) == 7
    rules = SamplingParams(8, banned_ids=(2, 1), biases=((4, 1.0),))
    facts: dict[str, Any] = {
        "max_new_tokens": 8,
        "temperature": 1.0,
        "stop": None,
        "banned_ids": [1, 2],
        "biases": [[4, 1.0]],
    }
    assert rules.facts == facts
    assert SamplingParams(**facts).params_hash == rules.params_hash  # as `ledger verify` reads them


def test_the_first_id_that_breaks_a_rule_is_named():
    assert TokenRules(banned_ids=(5,)).broken_by((1, 5, 2)) == 5
    assert TokenRules(allowed_ids=(1, 2)).broken_by((1, 5, 2)) == 5
    assert TokenRules(biases=((1, 4.0),)).broken_by((1, 5, 2)) is None
