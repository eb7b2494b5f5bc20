"""Questions answered by an allocation: what is chosen, what is drawn and paid for once, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import prm_train
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.evaluation.shards import read_search
from prm_train.metrics.difficulty import PassRateFit
from prm_train.search.allocation import Allocation, BudgetChoices, Choice
from prm_train.search.answer import Answer, EstimatedDifficulty
from prm_train.search.results import Cost
from prm_train.search.run import main as search
from prm_train.search.solve_questions import main as solve_questions
from prm_train.strategies.voting import is_right, path_scores, weighted_vote
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

EASY = Choice("majority", 2, "majority", 1.0)
HARD = Choice("prm_weighted", 4, "weighted", 1.0, "min", scorer="prm")
ALLOCATION = Allocation(
    models={"policy": "scripted", "prm": "scripted"},
    difficulty="score",
    fit=PassRateFit((1.0,), 0.0, 0.0),
    draws=DrawSettings(),
    aggregation="min",
    n_draws=2,
    edges=(0.5,),
    unit="tokens",
    sharing="mean",
    budgets=(BudgetChoices(10.0, (EASY, EASY), 0.5, 9.0), BudgetChoices(50.0, (EASY, HARD), 0.75, 40.0)),
)


def write(text: str, index: int) -> str:
    """Draws 0, 1 and 2 say 7, draw 3 says 8."""
    return f"Answer: {8 if index == 3 else 7}"


def solved(
    folder: Path, allocation: Allocation, score_of_7: float, **settings: Any
) -> tuple[Answer, list[int]]:
    """The answer, and the draws that were made for it."""
    path = folder / "allocation.json"
    allocation.write(path)
    policy = ScriptedPolicy(write)
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[-1].endswith("8") else score_of_7)
    answer = prm_train.solve("?", policy, scorer, grader="exact", allocation=path, **settings)
    return answer, [index for _, index in policy.asked]


def test_the_estimate_decides_the_method_and_its_draws_are_the_first_of_it(tmp_path: Path) -> None:
    """By the first two scores 7 is sure, and a majority of them is enough; or 8 outweighs it."""
    easy, drawn = solved(tmp_path, ALLOCATION, 0.8)
    assert (easy.answer, easy.strategy, easy.n, drawn) == ("7", "majority", 2, [0, 1])
    assert easy.difficulty == EstimatedDifficulty(0.8, 0)
    hard, drawn = solved(tmp_path, ALLOCATION, 0.2)
    assert (hard.answer, hard.strategy, hard.n, drawn) == ("8", "weighted", 4, [0, 1, 2, 3])
    assert hard.shares == pytest.approx({"8": 0.6, "7": 0.4})
    assert hard.difficulty == EstimatedDifficulty(0.2, 1)
    assert hard.cost.policy.n_generated == 4 * len("Answer: 7")


def test_a_smaller_budget_is_that_of_its_own_choice(tmp_path: Path) -> None:
    answer, _ = solved(tmp_path, ALLOCATION, 0.2, allocation_budget=20.0)
    assert (answer.strategy, answer.n) == ("majority", 2)
    with pytest.raises(InputError, match=r"allocation_budget: got 5 tokens; expected at least 10"):
        solved(tmp_path, ALLOCATION, 0.2, allocation_budget=5.0)


def test_another_temperature_is_drawn_for_itself_and_the_estimate_is_paid_for(tmp_path: Path) -> None:
    cold = replace(EASY, temperature=0.5)
    answer, drawn = solved(
        tmp_path, replace(ALLOCATION, budgets=(BudgetChoices(9.0, (cold, cold), 0.5, 9.0),)), 0.2
    )
    assert drawn == [0, 1, 0, 1]
    assert answer.cost.policy.n_generated == 4 * len("Answer: 7")


def test_a_search_in_a_tree_votes_as_it_was_chosen_to(tmp_path: Path) -> None:
    """Two beams of one step, 7 and 8 with 0.2 and 0.9: equally likely, so that 8 has the vote either way; but
    by the majority they are even, and the first one has it.
    """
    beam = Choice("beam", 4, "beam:width=4:max_steps=3", 1.0, "min", "majority", scorer="prm")
    for choice, expected in ((beam, "7"), (replace(beam, vote="score"), "8")):
        budgets = (BudgetChoices(9.0, (choice, choice), 0.5, 9.0),)
        answer, _ = solved(tmp_path, replace(ALLOCATION, budgets=budgets), 0.2)
        assert (answer.answer, answer.strategy) == (expected, "beam:width=4:max_steps=3")


def test_what_a_real_scorer_has_computed_for_the_estimate_is_computed_once(
    random_scorers: dict[str, str], tmp_path: Path
) -> None:
    policy, scorer = ScriptedPolicy(write), prm_train.load_scorer(random_scorers["prm"])
    path = tmp_path / "allocation.json"
    own = replace(ALLOCATION, models={"policy": "scripted", "prm": scorer.scorer_id})

    def cost(choice: Choice) -> Cost:
        replace(own, budgets=(BudgetChoices(9.0, (choice, choice), 0.5, 9.0),)).write(path)
        return prm_train.solve("?", policy, scorer, grader="exact", allocation=path).cost

    weighted = {n: prm_train.solve("?", policy, scorer, "weighted", n, grader="exact").cost for n in (2, 4)}
    assert weighted[2].scorer.n_new < weighted[4].scorer.n_new
    assert cost(HARD) == weighted[4]
    assert cost(EASY) == weighted[2]  # two draws, and the scores that the estimate reads
    assert cost(replace(HARD, n=1)).scorer.n_new == weighted[2].scorer.n_new


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": {"policy": "another", "prm": "scripted"}},
            "chosen with the policy another; expected scr",
        ),
        ({"models": {"policy": "scripted", "prm": "other"}}, "chosen with the prm other; expected scripted"),
        ({"draws": DrawSettings(max_new_tokens=9)}, "max_new_tokens: got 256; expected 9, as .*allocation.j"),
        (
            {"budgets": (BudgetChoices(1.0, (replace(EASY, strategy="logprob"), EASY), 0.5, 1.0),)},
            "chose what `solve` does not run: strategy: got 'logprob'",
        ),
        (
            {"budgets": (BudgetChoices(1.0, (replace(EASY, scorer="orm"), EASY), 0.5, 1.0),)},
            "needs the orm; got none",
        ),
        ({"difficulty": "prompt"}, "reads the policy's state of the prompt; got a policy that is no model"),
    ],
)
def test_an_allocation_of_others_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        solved(tmp_path, replace(ALLOCATION, **changes), 0.2)


def test_an_allocation_has_a_budget_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allocation: got budget_tokens, too"):
        solved(tmp_path, ALLOCATION, 0.2, budget_tokens=5)
    with pytest.raises(ValueError, match="allocation_budget: has no effect without allocation"):
        prm_train.solve("?", ScriptedPolicy(write), None, "majority", 2, allocation_budget=3.0)
    with pytest.raises(ValueError, match="vote: got prior with weighted, expected a search in a tree"):
        prm_train.solve("?", ScriptedPolicy(write), None, "weighted", 2, vote="prior")


def test_the_command_reads_the_prompt_and_answers_as_the_bin_does(
    tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fit on the mean state of the prompt, whose bias alone decides: hard questions get two samples."""
    policy = prm_train.load_policy(str(tiny_policy))
    n_hidden = policy.model.config.hidden_size  # type: ignore[attr-defined]
    one = Choice("majority", 1, "majority", 1.0)
    path = tmp_path / "allocation.json"
    replace(
        ALLOCATION,
        models={"policy": policy.policy_id},
        difficulty="prompt",
        fit=PassRateFit((0.0,) * n_hidden, 0.25, 1.0),
        draws=DrawSettings(max_new_tokens=4),
        budgets=(BudgetChoices(9.0, (one, EASY), 0.5, 9.0),),
    ).write(path)
    run = tmp_path / "run"
    solve_questions(
        [
            *("--question", "Start with 3: plus 1.", "--policy.model", str(tiny_policy)),
            *("--allocation", str(path), "--max_new_tokens", "4", "--output", str(run)),
        ]
    )
    assert "bin 1 (0 is the easiest)" in capsys.readouterr().out
    answer = json.loads((run / "answers.jsonl").read_text())
    assert (answer["n"], answer["difficulty"]) == (2, {"pass_at_1": 0.25, "bin": 1})
    n_prompt = len(policy.encode_prompt("Start with 3: plus 1."))
    assert answer["cost"]["policy"]["n_prefilled"] == 2 * n_prompt  # for the estimate, and for the draws
    assert json.loads((run / "models.json").read_text()).keys() == {"policy", "allocation"}


def test_a_search_answers_its_problems_by_an_allocation_too(
    random_scorers: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A weighted vote among two, whose draws and scores are those of its samples."""
    caplog.set_level("INFO")
    small = "--problems.n 3 --policy.model simulated --n_samples 2 --n_difficulty_draws 1"
    settings = [*small.split(), "--max_new_tokens", "400", "--prm", random_scorers["prm"]]
    search([*settings, "--output", str(tmp_path / "plain")])
    models = json.loads((tmp_path / "plain" / "models.json").read_text())
    two = replace(HARD, n=2)
    path = tmp_path / "allocation.json"
    allocation = replace(
        ALLOCATION,
        models=models,
        draws=DrawSettings(max_new_tokens=400),
        budgets=(BudgetChoices(9.0, (two, two), 0.5, 9.0),),
    )
    allocation.write(path)
    search([*settings, "--output", str(tmp_path / "run"), "--allocation", str(path)])
    found = read_search([tmp_path / "run"])
    plain = read_search([tmp_path / "plain"])
    for result, other in zip(found.results, plain.results, strict=True):
        chosen = weighted_vote(result.scored, path_scores(result.scored, "prm", "min"))
        assert result.allocated is not None
        assert (result.allocated.strategy, result.allocated.n) == ("weighted", 2)
        assert result.allocated.is_correct == is_right(chosen)
        assert result.allocated.cost.policy == result.cost_of_samples(1.0).policy
        assert result.allocated.cost.scorer.n_new == result.cost_of_scores("prm").n_new
        assert result.usage == other.usage  # it draws nothing anew
    assert any(result.allocated and result.allocated.answer for result in found.results)
    n = sum(bool(result.allocated and result.allocated.is_correct) for result in found.results)
    assert f"{n / 3:.1%} solved, " in caplog.text
    replace(allocation, n_draws=1).write(path)
    with pytest.raises(InputError, match="allocation"):  # it goes on with the same one only
        search([*settings, "--output", str(tmp_path / "run"), "--allocation", str(path)])
