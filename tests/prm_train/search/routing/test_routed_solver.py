"""Questions answered by a router: which path they take and why, what is drawn and paid for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import prm_train
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.metrics.difficulty import PassRateFit
from prm_train.search.answer import Answer, RouteTaken
from prm_train.search.routing.router import Router, Stage
from prm_train.search.solve_questions import main as solve_questions
from tests.prm_train.search.test_allocation import EASY, HARD, write
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

ROUTER = Router(
    models={"policy": "scripted", "prm": "scripted"},
    draws=DrawSettings(),
    scorer="prm",
    aggregation="min",
    accept_from=0.5,
    complex=(HARD,),
)
LENGTH = len("Answer: 7")


class LargePolicy(ScriptedPolicy):
    policy_id = "large"


def solved(
    folder: Path, router: Router, score_of_7: float, *, writes: Any = write, **settings: Any
) -> tuple[Answer, list[int]]:
    """The answer, and the draws that were made for it; draws 0 to 2 say 7, draw 3 says 8, which scores
    0.9.
    """
    path = folder / "router.json"
    router.write(path)
    policy = ScriptedPolicy(writes)
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[-1].endswith("8") else score_of_7)
    answer = prm_train.solve("?", policy, scorer, grader="exact", router=path, **settings)
    return answer, [index for _, index in policy.asked]


def test_a_sample_that_scores_enough_is_the_answer(tmp_path: Path) -> None:
    answer, drawn = solved(tmp_path, ROUTER, 0.8)
    assert (answer.answer, answer.confidence, answer.n, drawn) == ("7", 0.8, 1, [0])
    assert answer.route == RouteTaken("simple", "sure", None, 0.8)
    assert answer.cost.policy.n_generated == LENGTH


def test_one_that_scores_too_low_is_the_first_of_the_search_and_paid_for_once(tmp_path: Path) -> None:
    answer, drawn = solved(tmp_path, ROUTER, 0.2)
    assert (answer.answer, answer.strategy, answer.n, drawn) == ("8", "weighted", 4, [0, 1, 2, 3])
    assert answer.route == RouteTaken("complex", "unsure", None, 0.2)
    assert answer.cost.policy.n_generated == 4 * LENGTH
    tree = replace(HARD, strategy="beam:width=2:max_steps=3", method="beam")
    answer, drawn = solved(tmp_path, replace(ROUTER, complex=(tree,)), 0.2)
    assert len(drawn) == 1 + 4  # a search in a tree draws for itself
    assert answer.cost.policy.n_generated == len(drawn) * LENGTH


def test_a_sample_without_an_answer_is_never_enough(tmp_path: Path) -> None:
    def silent_first(text: str, index: int) -> str:
        return "None." if index == 0 else write(text, index)

    answer, _ = solved(tmp_path, replace(ROUTER, accept_from=0.0), 0.2, writes=silent_first)
    assert answer.route == RouteTaken("complex", "unanswered", None, None)
    assert (answer.answer, answer.n_voters) == ("8", 4)


def test_a_stage_of_the_complex_path_answers_where_it_is_sure_and_shares_its_draws(tmp_path: Path) -> None:
    """Two samples say 7, which scores 0.4: all of the vote, so as sure. Four give 8 a share of 0.9 / 2.1."""
    two = replace(HARD, n=2)
    graded = replace(ROUTER, stages=(Stage(two, 0.4),))
    answer, drawn = solved(tmp_path, graded, 0.4)
    assert (answer.answer, answer.n, drawn) == ("7", 2, [0, 1])
    assert answer.route == RouteTaken("complex", "unsure", None, 0.4, n_searches=1)
    assert answer.cost.policy.n_generated == 2 * LENGTH
    answer, drawn = solved(tmp_path, replace(graded, stages=(Stage(two, 0.41),)), 0.4)
    assert (answer.answer, answer.n, drawn) == ("7", 4, [0, 1, 2, 3])
    assert answer.route == RouteTaken("complex", "unsure", None, 0.4, n_searches=2)
    assert answer.cost.policy.n_generated == 4 * LENGTH


def test_a_disputed_answer_is_asked_of_the_large_policy_and_its_cost_stands_apart(tmp_path: Path) -> None:
    """8 has 0.9 of 0.9 + 3 x 0.2, which is 0.6 of the vote."""
    models = {**ROUTER.models, "large": "large"}
    disputed = replace(ROUTER, large_from=0.7, models=models)
    large = LargePolicy(lambda text, index: "Answer: 42")
    answer, _ = solved(tmp_path, disputed, 0.2, large_policy=large)
    assert answer.route is not None
    assert (answer.answer, answer.route.path, answer.route.reason) == ("42", "large", "disputed")
    assert answer.route.confidence == pytest.approx(0.6)
    assert answer.large_cost is not None
    assert (answer.large_cost.policy.n_generated, answer.cost.policy.n_generated) == (10, 4 * LENGTH)
    agreed, _ = solved(tmp_path, replace(disputed, large_from=0.5), 0.2, large_policy=large)
    assert (agreed.answer, agreed.large_cost) == ("8", None)
    assert agreed.route == RouteTaken("complex", "unsure", None, 0.2, agreed.confidence)
    simple, _ = solved(tmp_path, disputed, 0.8, large_policy=large)
    assert (simple.answer, len(large.asked)) == ("7", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": {"policy": "another", "prm": "scripted"}},
            "fitted with the policy another; expected scr",
        ),
        ({"draws": DrawSettings(max_new_tokens=9)}, "max_new_tokens: got 256; expected 9, as .*router.json"),
        ({"complex": (replace(HARD, strategy="logprob"),)}, "chose what `solve` does not run: strategy: got"),
        ({"scorer": "orm"}, "router: needs the orm; got the prm"),
        ({"fit": PassRateFit((1.0,), 0.0, 0.0)}, "reads the policy's state of the prompt; got a policy that"),
        ({"large_from": 0.5}, "its last step is a large policy; got none"),
    ],
)
def test_a_router_of_others_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        solved(tmp_path, replace(ROUTER, **changes), 0.2)
    with pytest.raises(ValueError, match="router: got budget_tokens, too"):
        solved(tmp_path, ROUTER, 0.2, budget_tokens=5)


@pytest.mark.parametrize(("bias", "why"), [(0.7, "one sample stated no answer"), (0.3, "looked too hard")])
def test_the_command_reads_the_prompt_and_says_which_path_was_taken(
    bias: float,
    why: str,
    tiny_policy: Path,
    random_scorers: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fit whose bias alone decides: from 0.5 on a sample is tried, which ends unfinished."""
    policy, scorer = prm_train.load_policy(str(tiny_policy)), prm_train.load_scorer(random_scorers["prm"])
    path = tmp_path / "router.json"
    replace(
        ROUTER,
        models={"policy": policy.policy_id, "prm": scorer.scorer_id},
        draws=DrawSettings(max_new_tokens=4),
        fit=PassRateFit((0.0,) * policy.model.config.hidden_size, bias, 1.0),  # type: ignore[attr-defined]
        simple_from=0.5,
        complex=(EASY,),
    ).write(path)
    run = tmp_path / "run"
    solve_questions(
        [
            *("--question", "Start with 3: plus 1.", "--policy.model", str(tiny_policy)),
            *("--router", str(path), "--prm", random_scorers["prm"], "--max_new_tokens", "4"),
            *("--output", str(run)),
        ]
    )
    assert why in capsys.readouterr().out
    answer = json.loads((run / "answers.jsonl").read_text())
    assert (answer["n"], answer["route"]["path"]) == (2, "complex")
    assert answer["route"]["pass_at_1"] == pytest.approx(bias)
    # A majority needs no more draws than the two of which the sample was the first
    assert answer["cost"]["policy"]["n_generated"] == 8
    assert json.loads((run / "models.json").read_text()).keys() == {"policy", "scorer", "router"}
