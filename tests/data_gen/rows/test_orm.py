from collections import Counter

from data_gen.records.chats import ChainPrompts
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.rows.layouts import OrmRow
from data_gen.rows.orm import PairSettings, history_rows, orm_pairs, orm_rows, shuffled_chains

PROBLEM = Problem("p", "What is 3 + 4?", "7")


def right(index: int, text: str) -> GradedSolution:
    return GradedSolution(Solution("p", index, text), "7", CORRECT)


def wrong(index: int, text: str) -> GradedSolution:
    return GradedSolution(Solution("p", index, text), "8", INCORRECT)


SOLUTIONS = [
    right(0, "aaaa"),
    wrong(1, "aabb"),
    right(2, "bbbb"),
    wrong(3, "bbbc"),
    wrong(4, "cccc"),
    right(5, "cccd"),
    right(6, "dddd"),
]


def test_each_solution_is_a_row_with_its_verdict() -> None:
    assert orm_rows(PROBLEM, SOLUTIONS[:2]) == [
        OrmRow("p", "What is 3 + 4?", "aaaa", True),
        OrmRow("p", "What is 3 + 4?", "aabb", False),
    ]


def test_random_pairs_use_each_solution_as_often_as_any_other() -> None:
    # 4 right and 3 wrong solutions make 12 pairs, 4 of which use each wrong one once or twice
    for seed in range(10):
        everything = orm_pairs(PROBLEM, SOLUTIONS, PairSettings(max_per_question=None), seed)
        assert len({(pair.chosen, pair.rejected) for pair in everything}) == len(everything) == 12
        four = orm_pairs(PROBLEM, SOLUTIONS, PairSettings(max_per_question=4), seed)
        assert four == everything[:4]
        assert sorted(Counter(pair.chosen for pair in four).values()) == [1, 1, 1, 1]
        assert sorted(Counter(pair.rejected for pair in four).values()) == [1, 1, 2]
    # Equal sides: after two pairs the next two are the crossed ones
    two_by_two = [SOLUTIONS[0], SOLUTIONS[1], SOLUTIONS[2], SOLUTIONS[3]]
    pairs = orm_pairs(PROBLEM, two_by_two, PairSettings(max_per_question=None), seed=0)
    assert len({(pair.chosen, pair.rejected) for pair in pairs}) == 4
    assert {pairs[0].rejected, pairs[1].rejected} == {"aabb", "bbbc"}


def test_closest_pairs_take_the_nearest_wrong_solution() -> None:
    pairs = orm_pairs(PROBLEM, SOLUTIONS, PairSettings("closest"), seed=0)
    # "dddd" is four edits from every wrong one: the lowest sample index
    assert {pair.chosen: pair.rejected for pair in pairs} == {
        "aaaa": "aabb",
        "bbbb": "bbbc",
        "cccd": "cccc",
        "dddd": "aabb",
    }
    assert len(orm_pairs(PROBLEM, SOLUTIONS, PairSettings("closest", 3), seed=0)) == 3


def test_a_question_with_one_side_has_no_pairs() -> None:
    assert orm_pairs(PROBLEM, [SOLUTIONS[0], SOLUTIONS[2]], PairSettings(), seed=0) == []
    assert orm_pairs(PROBLEM, [SOLUTIONS[1]], PairSettings("closest"), seed=0) == []


def test_a_chain_gives_each_attempt_the_ones_before_it() -> None:
    rows = history_rows(PROBLEM, SOLUTIONS[:4], max_attempts=2, prompts=ChainPrompts())
    shown = [[message.content for message in row.prompt if message.role == "assistant"] for row in rows]
    assert shown == [[], ["aaaa"], ["aaaa", "aabb"], ["aabb", "bbbb"]]  # the most recent two
    assert [row.label for row in rows] == [True, False, True, False]
    assert [row.completion[0].content for row in rows] == ["aaaa", "aabb", "bbbb", "bbbc"]
    assert [(row.n_attempts, row.sample_indices) for row in rows] == [
        (0, (0,)),
        (1, (0, 1)),
        (2, (0, 1, 2)),
        (2, (1, 2, 3)),
    ]


def test_independent_solutions_are_cut_into_chains_each_of_them_once() -> None:
    chains = shuffled_chains(PROBLEM, SOLUTIONS, max_attempts=2, seed=0)
    assert [len(chain) for chain in chains] == [3, 3, 1]
    assert sorted(each.solution.index for chain in chains for each in chain) == [0, 1, 2, 3, 4, 5, 6]
    assert chains == shuffled_chains(PROBLEM, SOLUTIONS, max_attempts=2, seed=0)
    firsts = {
        chain[0].solution.index
        for seed in range(60)
        for chain in shuffled_chains(PROBLEM, SOLUTIONS, 2, seed)
    }
    assert firsts == {0, 1, 2, 3, 4, 5, 6}
    assert shuffled_chains(PROBLEM, [], 2, seed=0) == []
