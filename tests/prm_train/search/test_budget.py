"""Budgets of a question: what was spent, when the drawing ends, and who votes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import prm_train
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.tasks import model_path
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Question
from data_gen.settings.errors import InputError
from prm_train.scoring.flops import ForwardFlops, model_flops, read_forward_flops
from prm_train.scoring.work import Work
from prm_train.search.budget import Budget, Meter, Spent
from prm_train.search.method_policy import DrawsCost, MethodPolicy
from prm_train.search.solve_questions import main as solve_questions
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

TEN = "Answer: 17"  # ten tokens


def solved(write: Any, strategy: str = "majority", n: int = 10, **settings: Any) -> prm_train.Answer:
    policy = write if isinstance(write, ScriptedPolicy) else ScriptedPolicy(write)
    scorer = None if strategy == "majority" else ScriptedScorer(lambda steps: 0.5)
    return prm_train.solve("?", policy, scorer, strategy, n, grader="exact", **settings)


def constant(text: str, index: int) -> str:
    return TEN


@pytest.mark.parametrize(
    ("limit", "n_voters", "n_drawn"),
    [
        (40, 4, 4),  # reached exactly by the first window
        (80, 8, 8),  # by the second one
        (50, 5, 5),  # behind the first window there is room for one, at ten tokens each
        (59, 5, 6),  # and for one more, which then costs more than what was left
        (39, 3, 4),  # the fourth of the first window was paid for in vain
        (10, 1, 4),
        (1000, 10, 10),
    ],
)
def test_samples_vote_as_far_as_the_budget_goes(limit: int, n_voters: int, n_drawn: int) -> None:
    policy = ScriptedPolicy(constant)
    answer = solved(policy, budget_tokens=limit, window=4)
    assert (answer.answer, answer.n_voters, len(policy.asked)) == ("17", n_voters, n_drawn)
    assert answer.spent == Spent(tokens=10 * n_drawn)
    assert answer.cost.policy.n_generated == 10 * n_drawn  # what was drawn in vain is booked
    assert answer.stopped == (None if limit == 1000 else "budget_tokens")


def test_an_answer_depends_on_the_budget_and_not_on_the_window() -> None:
    """Samples of 9, 10, 9, 10, … tokens say 7 and 17 in turn; five of them are 47 tokens."""

    def write(text: str, index: int) -> str:
        return "Answer: 7" if index % 2 == 0 else TEN

    for window in range(1, 11):
        answer = solved(write, budget_tokens=47, window=window)
        assert (answer.answer, answer.shares) == ("7", {"7": 0.6, "17": 0.4})
        assert answer.n_voters == 5
        assert answer.spent is not None
        assert answer.spent.tokens <= 47 + 10 * window


def test_a_budget_that_pays_for_no_sample_leaves_the_question_unsolved() -> None:
    answer = solved(constant, budget_tokens=9, window=2)
    assert (answer.answer, answer.stopped, answer.n_voters) == (None, "budget_tokens", 0)
    assert answer.unsolved == "budget: budget_tokens of 9 does not pay for one sample"
    assert answer.spent == Spent(tokens=20)
    endless = solved(lambda text, index: "no end\n", budget_tokens=50, window=1)
    assert endless.unsolved == (
        "budget: none of 7 texts was finished and states an answer within budget_tokens of 50"
    )


def test_a_rule_may_stop_before_the_budget_does() -> None:
    answer = solved(constant, budget_tokens=60, window=3, stop_early="beta")
    assert (answer.stopped, answer.n_voters) == ("beta", 4)  # four equal answers are enough
    short = solved(constant, budget_tokens=30, window=3, stop_early="beta")
    assert (short.stopped, short.n_voters) == ("budget_tokens", 3)


def test_money_is_that_of_generated_tokens_and_of_the_prompt_of_every_draw() -> None:
    """A sample takes 10 tokens at 3 and a prompt of 1 at 2: 32 millionths."""
    prices: dict[str, Any] = {"price_per_million_generated": 3.0, "price_per_million_prompt": 2.0}
    answer = solved(constant, budget_money=100e-6, window=4, **prices)
    assert (answer.n_voters, answer.stopped) == (3, "budget_money")
    assert answer.spent is not None
    assert answer.spent.money == pytest.approx(4 * 32e-6)


def test_all_of_the_window_in_which_the_time_runs_out_votes() -> None:
    answer = solved(constant, budget_seconds=1e-9, window=4)
    assert (answer.n_voters, answer.stopped, answer.answer) == (4, "budget_seconds", "17")
    assert solved(constant, budget_seconds=600.0, window=4).n_voters == 10


def two_steps(text: str, index: int) -> str:
    """A step of 2 tokens, then an answer of 10; draw 1 ends at once."""
    return TEN if text or index == 1 else f"{index}\n"


@pytest.mark.parametrize("strategy", ["beam", "dvts", "particle_filter", "best_first", "mcts", "rebase"])
def test_a_search_in_a_tree_begins_no_round_beyond_the_budget(strategy: str) -> None:
    """The first round of 4 draws takes 2 + 10 + 2 + 2 = 16 tokens, the path that ended votes."""
    stopped = solved(two_steps, strategy, 4, budget_tokens=16)
    assert (stopped.answer, stopped.stopped) == ("17", "budget_tokens")
    assert stopped.spent == Spent(tokens=16)
    assert stopped.steps == (TEN,)
    whole = solved(two_steps, strategy, 4, budget_tokens=17)
    assert whole.spent is not None
    assert whole.spent.tokens > 40
    none = solved(lambda text, index: TEN if text else f"{index}\n", strategy, 4, budget_tokens=8)
    assert none.unsolved is not None
    assert none.unsolved.startswith("budget: none of")


def test_a_tree_that_ended_by_itself_was_not_stopped() -> None:
    answer = solved(two_steps, "particle_filter", 4, budget_tokens=10**6)
    assert (answer.stopped, answer.answer) == (None, "17")
    assert solved(two_steps, "particle_filter", 4).spent is None


def test_the_first_draws_cost_what_they_alone_cost() -> None:
    """Two samples behind a prompt of 1, then the second one goes on: its prefix of 11 is computed but for its
    last token.
    """
    policy = ScriptedPolicy(constant)

    async def draw(recorded: MethodPolicy) -> None:
        prompt = recorded.encode_prompt("?")
        await recorded.sample(prompt, SamplingParams(10), 0)
        draw = await recorded.sample(prompt, SamplingParams(10), 1)
        await recorded.sample(prompt + draw.token_ids, SamplingParams(10), 1)

    with Ledger(IN_MEMORY) as ledger:
        recorded = MethodPolicy(policy, ledger, Question("q", "?"), {})
        asyncio.run(draw(recorded))
    assert recorded.cost_of_first(1).usage == Usage(10, 1, 0)
    assert recorded.cost_of_first(2).usage == recorded.usage_alone == Usage(30, 2, 1 + 1 + 11 - 2)


def test_operations_are_those_of_policy_and_scorer_with_attention() -> None:
    """A prompt of 2 tokens and a draw of 3: pairs 1 + 2 of the prompt, 3 + 4 + 5 of the draw."""
    cost = DrawsCost()
    cost.add((1, 2), Completion((3, 4, 5), "abc", (0.0,) * 3, FinishReason.EOS, Usage(3, 2)))
    flops = {"policy": ForwardFlops(100, 10, 1), "scorer": ForwardFlops(1000, 0, 7)}
    meter = Meter(Budget(budget_flops=1.0), flops)
    assert meter.spent(cost).flops == 5 * 100 + 3 * 10 + 15
    assert meter.spent(cost, Work(4, 9)).flops == 5 * 100 + 3 * 10 + 15 + 4000 + 63
    assert meter.spent(cost, None, Work(5, 15)).flops == 2 * (5 * 100 + 15) + 30 + 50


def test_operations_of_a_loaded_model_are_those_of_its_folder(random_scorers: dict[str, str]) -> None:
    folder = model_path("base")
    policy, scorer = load_policy(str(folder)), prm_train.load_scorer(random_scorers["prm"])
    assert model_flops(policy) == read_forward_flops(Path(folder))
    assert model_flops(scorer) == read_forward_flops(Path(random_scorers["prm"]))
    with pytest.raises(ValueError, match="budget_flops: got a policy whose weights are not known here"):
        solved(constant, budget_flops=1e9)
    settings: dict[str, Any] = {"grader": "arithmetic", "max_new_tokens": 40, "window": 2}

    def answer(**limits: Any) -> prm_train.Answer:
        return prm_train.solve("Start with 3: plus 4.", policy, scorer, "weighted", 6, **settings, **limits)

    most = answer(budget_flops=1e15)
    assert most.spent is not None
    assert most.spent.flops is not None
    assert (most.stopped, most.n_voters) == (None, 6)
    half = answer(budget_flops=most.spent.flops / 2)
    assert half.stopped == "budget_flops"
    assert 0 < half.n_voters < 6
    assert half == answer(budget_flops=most.spent.flops / 2)

    def searched(limit: float) -> prm_train.Answer:
        question = "Start with 3: plus 4, times 9, minus 8."
        return prm_train.solve(question, policy, scorer, "beam", 4, **settings, budget_flops=limit)

    tree = searched(1e15)
    assert tree.spent is not None
    assert tree.spent.flops is not None
    ended = searched(tree.spent.flops / 2)
    assert ended.stopped == "budget_flops"
    assert ended.spent is not None
    assert ended.spent.flops is not None
    assert tree.spent.flops / 2 <= ended.spent.flops < tree.spent.flops


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"budget_tokens": 0}, "budget_tokens: got 0, expected more than 0"),
        ({"budget_seconds": float("nan")}, "budget_seconds: got nan, expected more than 0"),
        ({"budget_money": 1.0}, "budget_money: got no price_per_million_generated"),
        ({"price_per_million_prompt": 1.0}, "price_per_million_prompt: has no effect without budget_money"),
        (
            {"budget_money": 1, "price_per_million_generated": -1.0, "price_per_million_prompt": 0.0},
            "price_per_million_generated: got -1.0, expected 0 or more",
        ),
    ],
)
def test_budgets_that_hold_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        solved(constant, **settings)


def test_the_command_says_what_stopped_a_question_and_what_was_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solve_questions(
        [
            *("--question", "Start with 3: plus 4, times 9.", "--policy.model", "simulated"),
            *("--strategy", "majority", "--grader", "arithmetic", "--n", "8", "--window", "2"),
            *("--budget_tokens", "60", "--output", str(tmp_path)),
        ]
    )
    said = capsys.readouterr().out
    assert "stopped by" in said
    assert "budget_tokens; " in said
    (stored,) = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert stored["stopped"] == "budget_tokens"
    assert stored["spent"]["tokens"] == stored["cost"]["policy"]["n_generated"] >= 60
    with pytest.raises(InputError, match="budget_flops: got a policy whose weights are not known"):
        solve_questions(
            [
                *("--question", "?", "--policy.model", "simulated", "--strategy", "majority"),
                *("--budget_flops", "1e9"),
            ]
        )
