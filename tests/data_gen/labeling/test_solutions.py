"""Step labels against a policy whose step values are known exactly."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pytest

from data_gen.labeling.first_error import StepPath
from data_gen.labeling.rollouts import FIRST_SUCCESS, FIXED, RolloutSource, estimate_value
from data_gen.labeling.settings import LabelSettings
from data_gen.labeling.solutions import LabelingTask, label_paths, label_samples, step_prefixes
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.arithmetic.rules import success_probability
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.first_error import first_error
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.steps import split_steps
from data_gen.records.verdicts import INCORRECT
from data_gen.sampling.solutions import Prefix
from data_gen.settings.errors import InputError

PARAMS = SamplingParams(max_new_tokens=400)
# 7 5 1 0 3
CHAIN = rules.Chain(3, (("plus", (4,)), ("minus", (2,)), ("plus", (6,)), ("minus", (1,)), ("plus", (3,))))


PROBLEM = Problem("p", CHAIN.question(), CHAIN.gold_answer())
WRONG = [7, 5, 12, 1, 4]  # the third operation is wrong


def solution(totals: Sequence[int], index: int = 0) -> Solution:
    text = rules.solution_text(CHAIN, list(totals))
    return Solution("p", index, text, FinishReason.EOS, (*text.encode(), 256))


async def labeled_path(
    ledger: Ledger, totals: Sequence[int], settings: LabelSettings, root: StepEstimate, base_seed: int = 0
) -> LabeledSolution:
    source = RolloutSource(
        LedgerPolicy(SimulatedPolicy(base_seed), ledger, PROBLEM), ArithmeticGrader(), PARAMS
    )
    graded = await source.grader.grade(PROBLEM, solution(totals))
    prefixes = step_prefixes(source.policy, graded, source.policy.token_bytes(), "\n")
    path = StepPath(graded, split_steps(graded.solution.text, "\n"), prefixes, root)
    return (await label_paths(source, [path], settings))[0]


ROOT = StepEstimate(24, 32, 0, "rollouts")


def labeled(
    totals: Sequence[int],
    folder: Path,
    settings: LabelSettings = LabelSettings(),  # noqa: B008 it is frozen
) -> tuple[LabeledSolution, int]:
    with Ledger(folder / "l.sqlite") as ledger:
        result = asyncio.run(labeled_path(ledger, totals, settings, ROOT))
        return result, ledger.n_draws()


def test_the_first_error_is_located_and_what_follows_has_no_label(tmp_path: Path):
    result, _ = labeled(WRONG, tmp_path)
    assert result.steps == (
        "3 plus 4=7",
        "7 minus 2=5",
        "5 plus 6=12, keep 2",
        "2 minus 1=1",
        "1 plus 3=4",
        "Answer: 7 5 2 1 4",
    )
    assert result.labels == (True, True, False, None, None, None)
    assert result.root == ROOT


@pytest.mark.parametrize("method", ["first_error", "sequential", "posterior"])
@pytest.mark.parametrize("position", range(5))
def test_every_position_of_the_error_is_found(tmp_path: Path, position: int, method):
    totals = CHAIN.totals()[:position]
    totals = rules.draw_attempt(CHAIN, random.Random(0), [*totals, CHAIN.totals()[position] + 1])
    result, _ = labeled(totals, tmp_path, LabelSettings(method=method))
    assert result.labels == (True,) * position + (False,) + (None,) * (5 - position)


@pytest.mark.parametrize("method", ["first_error", "sequential", "posterior"])
def test_a_right_solution_costs_no_rollout(tmp_path: Path, method):
    result, n_draws = labeled(CHAIN.totals(), tmp_path, LabelSettings(method=method))
    assert result.labels == (True,) * 6
    assert {estimate.method for estimate in result.estimates} == {"witness"}
    assert n_draws == 0


def test_the_search_probes_at_most_log2_of_the_steps_and_stops_at_the_first_success(tmp_path: Path):
    result, n_draws = labeled(WRONG, tmp_path)
    probes = [estimate for estimate in result.estimates if estimate.method == "rollouts"]
    assert len(probes) <= 3
    assert n_draws == sum(estimate.n_rollouts for estimate in probes)
    assert all(estimate.n_correct == 1 or estimate.n_rollouts == 8 for estimate in probes)


def test_a_success_after_a_later_step_witnesses_the_steps_before_it(tmp_path: Path):
    # The fifth operation is wrong
    totals = rules.draw_attempt(CHAIN, random.Random(0), [*CHAIN.totals()[:4], 4])
    result, _ = labeled(totals, tmp_path)
    assert result.labels == (True, True, True, True, False, None)
    # probes: step 2 (right), step 4 (wrong), step 3 (right); the others are known from these
    assert [estimate.method for estimate in result.estimates] == [
        "witness",
        "witness",
        "rollouts",
        "rollouts",
        "rollouts",
        "terminal",
    ]


def test_stopping_at_the_first_success_gives_the_labels_of_a_fixed_number_from_the_same_draws(tmp_path: Path):
    async def both(ledger: Ledger, index: int) -> tuple[StepEstimate, StepEstimate, int]:
        source = RolloutSource(
            LedgerPolicy(SimulatedPolicy(base_seed=index), ledger, PROBLEM), ArithmeticGrader(), PARAMS
        )
        prefix = Prefix(source.policy.encode_prompt(PROBLEM.question))
        stopped = await estimate_value(source, prefix, 8, FIRST_SUCCESS)
        n_before = ledger.n_draws()
        return stopped, await estimate_value(source, prefix, 8, FIXED), n_before

    n_saved = 0
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for index in range(40):
            stopped, fixed, _ = asyncio.run(both(ledger, index))
            assert (stopped.n_correct > 0) == (fixed.n_correct > 0)
            n_saved += fixed.n_rollouts - stopped.n_rollouts
        assert ledger.n_draws() == 40 * 8  # the stopped draws were the first of the fixed ones
    assert n_saved > 0


def test_fixed_estimates_match_the_exact_values_and_their_intervals_hold_them(tmp_path: Path):
    result, _ = labeled(WRONG, tmp_path, LabelSettings(method="every_step", n_rollouts=200))
    for n_done in (1, 2):
        exact = success_probability(CHAIN, n_done)
        estimate = result.estimates[n_done - 1]
        assert estimate.n_correct / 200 == pytest.approx(exact, abs=0.08)
        assert estimate.low < exact < estimate.high < estimate.low + 0.15
    assert [estimate.n_correct for estimate in result.estimates[2:]] == [0, 0, 0, 0]
    assert result.labels == (True, True, False, False, False, False)
    assert {estimate.stopping for estimate in result.estimates} == {"fixed"}
    assert (result.estimates[-1].method, result.estimates[-1].low, result.estimates[-1].high) == (
        "terminal",
        0,
        0,
    )


def test_values_are_drawn_until_their_intervals_are_narrow_enough(tmp_path: Path):
    result, n_draws = labeled(
        WRONG, tmp_path, LabelSettings(method="every_step", stopping="interval", interval_width=0.3)
    )
    probed = result.estimates[:-1]
    assert all(estimate.high - estimate.low <= 0.3 or estimate.n_rollouts == 64 for estimate in probed)
    assert all(
        estimate.low < success_probability(CHAIN, i + 1) < estimate.high
        for i, estimate in enumerate(probed[:2])
    )
    # A value of 0 is known sooner than one in the middle
    assert probed[2].n_rollouts < probed[0].n_rollouts <= 64
    assert {estimate.stopping for estimate in probed} == {"interval"}
    assert n_draws == sum(estimate.n_rollouts for estimate in probed)


def test_rollouts_that_run_out_leave_the_error_open(tmp_path: Path):
    result, n_draws = labeled(WRONG, tmp_path, LabelSettings(method="posterior", max_solution_rollouts=2))
    assert n_draws == 2
    assert False not in result.labels
    assert None in result.labels


def test_rollouts_that_succeed_after_the_located_error_are_reported(tmp_path: Path):
    """Only the fifth operation is wrong, but one rollout a step is too few: the check shows where an unlucky
    one misled the search.
    """
    totals = rules.draw_attempt(CHAIN, random.Random(0), [*CHAIN.totals()[:4], 4])
    results = []
    for base_seed in range(20):
        with Ledger(tmp_path / f"{base_seed}.sqlite") as ledger:
            settings = LabelSettings(n_rollouts=1, n_check=10)
            results.append(asyncio.run(labeled_path(ledger, totals, settings, ROOT, base_seed)))
    misled = [result for result in results if result.labels.index(False) < 4]
    located = [result for result in results if result.labels.index(False) == 4]
    assert misled
    assert all(result.non_monotone == () for result in located)
    for result in misled:
        error = result.labels.index(False)
        assert result.non_monotone
        # Of the steps whose rollouts can succeed at all
        assert all(error <= step < 4 for step in result.non_monotone)


def of_four_samples(
    folder: Path, settings: LabelSettings, beliefs: Mapping[int, tuple[float, ...]] = MappingProxyType({})
) -> tuple[LabeledSolution | str, ...]:
    """What becomes of a right, a wrong and a truncated solution, and of one without an answer."""

    async def run(ledger: Ledger) -> tuple[LabeledSolution | str, ...]:
        policy, grader = LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), ArithmeticGrader()
        texts = [
            solution(CHAIN.totals()),
            solution(WRONG, 1),
            replace(solution(WRONG, 2), finish_reason=FinishReason.LENGTH),
        ]
        texts.append(Solution("p", 3, "3 plus 4=7", FinishReason.EOS, tuple(b"3 plus 4=7")))
        samples = tuple([await grader.grade(PROBLEM, each) for each in texts])
        return await label_samples(
            LabelingTask(policy, grader, samples, policy.token_bytes(), "\n", PARAMS, settings, beliefs)
        )

    with Ledger(folder / "l.sqlite") as ledger:
        return asyncio.run(run(ledger))


def test_wrong_solutions_of_a_problem_that_is_rarely_solved_get_no_labels_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    """One of its four samples is right."""
    for folder, share, reason in (("at", 0.25, None), ("above", 0.26, "rarely_solved")):
        (tmp_path / folder).mkdir()
        found = of_four_samples(tmp_path / folder, LabelSettings(min_root_share=share))
        right, wrong, *others = found
        assert isinstance(right, LabeledSolution)
        assert right.labels == (True,) * 6
        assert (wrong if isinstance(wrong, str) else None) == reason
        assert others == ["truncated", "no_answer"]


def test_solutions_that_scorers_do_not_doubt_get_no_labels_where_that_is_asked_for(tmp_path: Path) -> None:
    """Of the wrong solution six steps are believed with 0.9 at most: a doubt of 0.1."""
    believed = {1: (0.02, 0.02, 0.9, 0.02, 0.02, 0.02)}
    for folder, least, reason in (("at", 0.0999, None), ("above", 0.1001, "scorers_agree")):
        (tmp_path / folder).mkdir()
        settings = LabelSettings(min_doubt=least)
        right, wrong, *_ = of_four_samples(tmp_path / folder, settings, believed)
        assert isinstance(right, LabeledSolution)  # labels of right solutions cost nothing
        assert (wrong if isinstance(wrong, str) else None) == reason
    (tmp_path / "unknown").mkdir()
    _, wrong, *_ = of_four_samples(tmp_path / "unknown", LabelSettings(min_doubt=0.5), {})
    assert isinstance(wrong, LabeledSolution)  # what no scorer has read is in doubt
    with pytest.raises(InputError, match="sample 1 of p: 2 scores for its 6 steps"):
        of_four_samples(tmp_path, LabelSettings(method="posterior"), {1: (0.5, 0.5)})


def test_a_belief_saves_rollouts_and_a_wrong_one_is_found_out(tmp_path: Path) -> None:
    """The third step is wrong."""
    n_rollouts = {}
    for name, at in (("right", 2), ("none", None), ("misled", 4)):
        (tmp_path / name).mkdir()
        believed = {} if at is None else {1: tuple(0.998 if step == at else 0.0004 for step in range(6))}
        settings = LabelSettings(method="posterior", scorer_trust=0.7)
        _, wrong, *_ = of_four_samples(tmp_path / name, settings, believed)
        assert isinstance(wrong, LabeledSolution)
        assert first_error(wrong.labels) == 2
        n_rollouts[name] = sum(estimate.n_rollouts for estimate in wrong.estimates)
    assert 0 < n_rollouts["right"] < n_rollouts["none"] < n_rollouts["misled"]


def test_what_stays_open_gets_the_likeliest_step_where_that_is_asked_for(tmp_path: Path) -> None:
    cases: tuple[tuple[Literal["none", "likeliest"], int | None], ...] = (("none", None), ("likeliest", 2))
    for name, expected in cases:
        (tmp_path / name).mkdir()
        settings = LabelSettings(method="posterior", max_solution_rollouts=1, when_open=name)
        believed = {1: tuple(0.5 if step == 2 else 0.1 for step in range(6))}
        _, wrong, *_ = of_four_samples(tmp_path / name, settings, believed)
        assert isinstance(wrong, LabeledSolution)
        assert first_error(wrong.labels) == expected
        assert sum(estimate.n_rollouts for estimate in wrong.estimates) == 1


def test_wrong_rollouts_behind_the_last_good_step_are_labeled_as_solutions_too(tmp_path: Path) -> None:
    """They begin with the two good steps of the wrong solution, and end wrong."""
    settings = LabelSettings(method="posterior", error_rate=1e-9, n_branches=2)
    of_samples = of_four_samples(tmp_path, settings)[:4]
    (tmp_path / "again").mkdir()
    found = of_four_samples(tmp_path / "again", settings)
    assert found[:4] == of_samples
    whole, branches = of_samples[1], found[4:]
    assert isinstance(whole, LabeledSolution)
    assert first_error(whole.labels) == 2
    assert 1 <= len(branches) <= 2
    texts = set()
    for branch in branches:
        assert isinstance(branch, LabeledSolution)
        solution = branch.graded.solution
        assert branch.steps[:2] == whole.steps[:2]
        assert branch.graded.verdict == INCORRECT
        assert solution.index < 0
        assert solution.text == bytes(solution.token_ids[:-1]).decode()  # of the whole, EOS apart
        error = first_error(branch.labels)
        truth = DEFAULT_TASK.step_truth(PROBLEM.question, solution.text)
        assert error is not None
        assert error >= 2
        assert truth is not None
        assert truth.index(False) == error
        texts.add(solution.text)
    assert len(texts) == len(branches)
    assert whole.graded.solution.text not in texts


def test_the_samples_of_a_task_are_labeled_with_the_value_of_their_prompt(tmp_path: Path):
    right, wrong, truncated, without_answer = of_four_samples(tmp_path, LabelSettings())
    assert isinstance(right, LabeledSolution)
    assert isinstance(wrong, LabeledSolution)
    assert (truncated, without_answer) == ("truncated", "no_answer")
    assert right.root == wrong.root
    assert (right.root.n_correct, right.root.n_rollouts, right.root.n_unknown) == (1, 4, 2)
    # Clopper-Pearson of 1 of 4
    assert (round(right.root.low, 4), round(right.root.high, 4)) == (0.0063, 0.8059)


def test_truncated_rollouts_are_counted_apart(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        source = RolloutSource(
            LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), ArithmeticGrader(), SamplingParams(5)
        )
        estimate = asyncio.run(
            estimate_value(source, Prefix(source.policy.encode_prompt(PROBLEM.question)), 3)
        )
    assert (estimate.n_correct, estimate.n_rollouts, estimate.n_unknown) == (0, 3, 3)


def test_a_solution_without_a_verdict_gets_no_labels(tmp_path: Path):
    async def run(ledger: Ledger) -> None:
        source = RolloutSource(LedgerPolicy(SimulatedPolicy(), ledger, PROBLEM), ArithmeticGrader(), PARAMS)
        graded = await source.grader.grade(
            PROBLEM, Solution("p", 4, "3 plus 4=7", FinishReason.EOS, tuple(b"3 plus 4=7"))
        )
        prefixes = step_prefixes(source.policy, graded, source.policy.token_bytes(), "\n")
        await label_paths(source, [StepPath(graded, ("3 plus 4=7",), prefixes)], LabelSettings())

    with (
        Ledger(tmp_path / "l.sqlite") as ledger,
        pytest.raises(ValueError, match=r"solution 4 of p: its verdict is unknown \(no_answer\)"),
    ):
        asyncio.run(run(ledger))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"omega_alpha": 0.7}, "omega_alpha: got 0.7, but method first_error does not read it"),
        (
            {"method": "every_step", "max_rollouts": 32},
            "max_rollouts: got 32, but method every_step with stopping fixed does not read it",
        ),
        (
            {"method": "posterior", "n_rollouts": 4},
            "n_rollouts: got 4, but method posterior does not read it",
        ),
        ({"n_rollouts": 0}, "n_rollouts: got 0, expected more than 0"),
        ({"method": "posterior", "error_rate": 1.5}, "error_rate: got 1.5, expected less than 1"),
        (
            {"method": "sequential", "low_share": 0.9},
            r"low_share: got 0.9, expected less than high_share \(0.8\)",
        ),
    ],
)
def test_settings_that_nothing_reads_or_that_cannot_work_are_refused(changes, message: str):
    with pytest.raises(ValueError, match=message):
        LabelSettings(**changes)
