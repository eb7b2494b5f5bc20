"""OmegaPRM's invariants, on a policy whose step values are known exactly; each fault named here was found in
a published implementation.
"""

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.labeling.omega import Cuts, Node, SearchedRollout, Tree
from data_gen.labeling.rollouts import RolloutSource
from data_gen.labeling.settings import LabelSettings
from data_gen.labeling.solutions import LabelingTask, label_samples
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import STEP_TOKENS, ExactPolicy, true_error
from data_gen.policies.protocol import Policy
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.sampling.solutions import draw_solutions

OMEGA = LabelSettings(method="omega", omega_searches=25, omega_cuts="tokens")
PARAMS = SamplingParams(max_new_tokens=400)
PROBLEM = Problem("p", "question: q 0.6 drift 0", "1")


Grown = tuple[Tree, list[SearchedRollout], int]
CHAIN = rules.Chain(
    3,
    (
        ("plus", (4,)),
        ("mix", (2,)),
        ("fold", (6,)),
        ("mix", (1,)),
        ("fold", (3,)),
        ("mix", (5,)),
        ("minus", (1,)),
    ),
)
ARITHMETIC = Problem("p", CHAIN.question(), CHAIN.gold_answer())


def grow(folder: Path, problem: Problem, settings: LabelSettings, n_samples: int = 16) -> Grown:
    """A whole tree, its searches, and how many rollouts it drew."""

    async def run(ledger: Ledger) -> Grown:
        policy = LedgerPolicy(policy_of(problem), ledger, problem)
        source = RolloutSource(policy, ArithmeticGrader(), PARAMS)
        samples = await draw_solutions(policy, source.grader, PARAMS, range(n_samples))
        span = STEP_TOKENS if settings.omega_cuts == "tokens" else 0
        tree = Tree(source, Cuts(policy.token_bytes(), "\n", span), settings)
        searches = await tree.grow(samples)
        return tree, searches, policy.n_draws - n_samples

    with Ledger(folder / "ledger.sqlite") as ledger:
        return asyncio.run(run(ledger))


def policy_of(problem: Problem) -> Policy:
    return ExactPolicy() if problem is PROBLEM else SimulatedPolicy()


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Grown:
    return grow(
        tmp_path_factory.mktemp("tree"),
        PROBLEM,
        LabelSettings(method="omega", omega_searches=40, omega_cuts="tokens"),
    )


def labeled(
    folder: Path, settings: LabelSettings, problem: Problem = PROBLEM, n_samples: int = 16
) -> tuple[LabeledSolution | str, ...]:
    async def run(ledger: Ledger) -> tuple[LabeledSolution | str, ...]:
        policy = LedgerPolicy(policy_of(problem), ledger, problem)
        grader = ArithmeticGrader()
        samples = await draw_solutions(policy, grader, PARAMS, range(n_samples))
        return await label_samples(
            LabelingTask(policy, grader, samples, policy.token_bytes(), "\n", PARAMS, settings)
        )

    with Ledger(folder / "ledger.sqlite") as ledger:
        return asyncio.run(run(ledger))


def test_a_selected_rollout_never_returns(grown: Grown):
    """A pool that takes popped rollouts back searches one rollout until the budget ends (openr, AMCS)."""
    _, searches, _ = grown
    assert len(searches) == 40
    assert len({search.ids for search in searches}) == 40


def test_each_prefix_is_estimated_once(tmp_path: Path, grown: Grown):
    """openr's published sample holds 90 nodes of 86 prefixes."""
    tree, _, n_draws = grown
    assert n_draws == 8 * (len(tree.nodes) - 1)  # the root's rollouts are the samples: none is drawn again
    tree, searches, n_draws = grow(tmp_path, ARITHMETIC, LabelSettings(method="omega"), 24)
    assert sum(search.n_probes for search in searches) > len(tree.nodes) - 1  # short solutions share prefixes
    assert n_draws <= 8 * (len(tree.nodes) - 1)
    assert all(node.estimate.n_rollouts == 8 for node in tree.nodes.values() if node.ids)


def test_a_search_probes_at_most_log2_of_its_pieces(grown: Grown):
    _, searches, _ = grown
    assert all(search.n_probes <= math.ceil(math.log2(search.n_pieces)) for search in searches)
    assert max(search.n_pieces for search in searches) == 16


def test_only_wrong_rollouts_of_nodes_that_are_neither_lost_nor_solved_join_the_pool(grown: Grown):
    """Adding the rollouts of states that never succeed fills the pool with states that cannot be searched
    (AMCS).
    """
    _, searches, _ = grown
    assert any(search.node.ids for search in searches)
    assert all(0 < search.node.monte_carlo < 1 for search in searches)
    assert all(search.rollout.verdict == INCORRECT for search in searches)


def test_most_first_errors_that_are_found_are_true_ones(grown: Grown):
    """At q = 0.6 eight rollouts miss a good prefix with probability 0.4^8; half of the errors can be
    recovered from, a few in a hundred.
    """
    _, searches, _ = grown
    exact = [
        (search.error_end - 1) // STEP_TOKENS == true_error(search.rollout.solution.text)
        for search in searches
    ]
    assert sum(exact) >= 0.75 * len(exact)


def test_nodes_on_a_searched_rollout_are_its_own_prefixes_in_order(grown: Grown):
    _, searches, _ = grown
    for search in searches:
        ends = [len(node.ids) for node in search.path]
        assert ends == sorted(set(ends))
        assert all(end % STEP_TOKENS == 0 for end in ends)
        assert all(search.ids[: len(node.ids)] == node.ids for node in search.path)


def rollouts(n: int, *, start: int = 0) -> tuple[GradedSolution, ...]:
    """Wrong rollouts of 100 tokens, all different."""
    return tuple(
        GradedSolution(Solution("p", i, "x", token_ids=(start + i,) * 100), "0", INCORRECT) for i in range(n)
    )


def test_priorities_of_the_whole_pool_follow_every_visit():
    """Q = 0.5^(1 - MC) * 0.9^(100 / 500) is 0.823 for MC 3/4 and 0.692 for 1/2; U = 0.125 sqrt(N) / (1 +
    N(s)) adds 0.217 to the node never visited after three visits of the other, 0.054 to that. With priorities
    from the time of insertion it would wait for the fourth.
    """
    tree = Tree(None, None, OMEGA)  # type: ignore[arg-type]  # selection asks neither the policy nor the cuts
    good = Node((1,), StepEstimate(6, 8), rollouts(4))
    poor = Node((2,), StepEstimate(4, 8), rollouts(2, start=10))
    tree.add(good)
    tree.add(poor)
    assert [tree.pop()[0] is good for _ in range(6)] == [True, True, True, False, True, False]
    assert (good.n_visits, poor.n_visits) == (4, 2)


def test_truncated_and_unknown_rollouts_are_not_searched():
    wrong, right = rollouts(1)[0], GradedSolution(Solution("p", 8, "x", token_ids=(8,)), "1", CORRECT)
    no_verdict = GradedSolution(Solution("p", 9, "x", token_ids=(9,)), None, unknown("no_answer"))
    tree = Tree(None, None, OMEGA)  # type: ignore[arg-type]
    tree.add(Node((), StepEstimate(1, 3), (wrong, right, no_verdict)))
    tree.add(Node((5,), StepEstimate(0, 8), rollouts(3)))
    tree.add(Node((6,), StepEstimate(8, 8), rollouts(3)))
    assert [rollout for _, rollout in tree.pool] == [wrong]


def test_edges_are_exact_token_spans_and_come_once(tmp_path: Path):
    outcomes = labeled(tmp_path, OMEGA)
    solutions = [each for each in outcomes if isinstance(each, LabeledSolution)]
    edges = set()
    for each in solutions:
        text = each.graded.solution.text
        assert "".join(each.steps) == text
        # The last piece holds EOS
        assert all(len(step.encode()) % STEP_TOKENS in (0, STEP_TOKENS - 1) for step in each.steps)
        start = 0
        for step, label in zip(each.steps, each.labels, strict=True):
            edge = text[:start], text[: start + len(step)]
            start += len(step)
            if label is not None and not each.graded.verdict.is_correct:
                assert edge not in edges
                edges.add(edge)
    searched = [each for each in solutions if not each.graded.verdict.is_correct]
    assert all(each.labels.count(False) <= 1 for each in searched)
    assert all(estimate.n_rollouts in (0, 8) for each in searched for estimate in each.estimates)
    assert len({each.graded.solution.index for each in solutions}) == len(solutions)


def test_a_node_with_any_right_rollout_is_positive(tmp_path: Path):
    """The paper's label is MC > 0; openr exports MC > 0.5."""
    searched = [
        each
        for each in labeled(tmp_path, OMEGA)
        if isinstance(each, LabeledSolution) and not each.graded.verdict.is_correct
    ]
    probed = [
        pair
        for each in searched
        for pair in zip(each.labels, each.estimates, strict=True)
        if pair[1].method == "rollouts"
    ]
    assert all(label is (estimate.n_correct > 0) for label, estimate in probed)
    assert any(0 < estimate.n_correct < 4 and label for label, estimate in probed)


def test_the_end_of_a_wrong_rollout_is_a_zero_without_rollouts(tmp_path: Path):
    ends = [
        each
        for each in labeled(tmp_path, OMEGA)
        if isinstance(each, LabeledSolution) and each.labels[-1] is False
    ]
    assert ends
    assert {
        (each.estimates[-1].method, each.estimates[-1].n_rollouts, each.estimates[-1].high) for each in ends
    } == {("terminal", 0, 0.0)}


def test_right_samples_are_witnesses_of_their_pieces_and_no_node_without_rollouts(tmp_path: Path):
    """openr exports a right rollout as one step of value 1 from 0 rollouts."""
    right = [
        each
        for each in labeled(tmp_path, OMEGA)
        if isinstance(each, LabeledSolution) and each.graded.verdict.is_correct
    ]
    assert right
    for each in right:
        assert each.labels == (True,) * 16
        assert {
            (estimate.method, estimate.n_rollouts, estimate.low, estimate.high) for estimate in each.estimates
        } == {("witness", 0, 0.0, 1.0)}


def test_a_question_without_a_right_sample_is_left_alone(tmp_path: Path):
    async def run(ledger: Ledger) -> tuple[tuple[LabeledSolution | str, ...], int]:
        policy, grader = LedgerPolicy(ExactPolicy(), ledger, PROBLEM), ArithmeticGrader()
        drawn = await draw_solutions(policy, grader, PARAMS, range(16))
        wrong = tuple(each for each in drawn if not each.verdict.is_correct)
        twin = replace(wrong[0], solution=replace(wrong[0].solution, index=99))
        fresh = LedgerPolicy(ExactPolicy(), ledger, PROBLEM)
        task = LabelingTask(fresh, grader, (*wrong, twin), fresh.token_bytes(), "\n", PARAMS, OMEGA)
        return await label_samples(task), fresh.n_draws

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        outcomes, n_draws = asyncio.run(run(ledger))
    assert set(outcomes) == {"not_searched"}
    assert n_draws == 0


@pytest.mark.parametrize("span", [1, 2, 3])
def test_cuts_never_split_a_character(span: int):
    cuts = Cuts([*(bytes([i]) for i in range(256)), b""], "\n", span)
    ids = (*"é=½·€".encode(), 256)
    pieces = cuts.pieces(ids, cuts.ends(ids))
    assert "".join(pieces) == "é=½·€"
    assert cuts.ends(ids)[-1] == len(ids)
    assert "\ufffd" not in "".join(pieces)


def test_cut_at_the_ends_of_steps_a_tree_gives_the_labels_of_steps(tmp_path: Path):
    settings = LabelSettings(method="omega", omega_searches=20)
    solutions = [
        each for each in labeled(tmp_path, settings, ARITHMETIC, 24) if isinstance(each, LabeledSolution)
    ]
    searched = [each for each in solutions if not each.graded.verdict.is_correct]
    assert searched
    for each in searched:
        assert "\n".join(each.steps) == each.graded.solution.text
        totals = rules.parse_totals(each.graded.solution.text)
        error = rules.first_error(CHAIN, totals)
        assert error is not None
        # None: this edge was exported with another solution
        assert each.labels[error] is False or each.labels[error] is None
        assert all(label is not False for step, label in enumerate(each.labels) if step != error)
