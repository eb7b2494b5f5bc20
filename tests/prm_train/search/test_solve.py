"""A question answered without a gold answer: the vote, what it rests on, the command, and the page of its
tree.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import prm_train
from data_gen.settings.errors import InputError
from prm_train.search.answer import vote_shares
from prm_train.search.show_tree import branches
from prm_train.search.show_tree import main as show_tree
from prm_train.search.solve_questions import main as solve_questions
from prm_train.strategies.best_of_n import as_candidate
from prm_train.strategies.trace import TraceNode
from tests.prm_train.test_public_api import length_scorer
from tests.scripted_search import ScriptedPolicy, ScriptedScorer


def write(text: str, index: int) -> str:
    """Two steps, then an answer: draws 0 and 1 say 7, draw 2 says 8, each behind a step of their own."""
    if text.count("\n") == 0:
        return f"{index}\n"
    return f"Answer: {8 if text.startswith('2') else 7}"


def judge(steps: tuple[str, ...]) -> float:
    """Draw 2's first step looks best."""
    return 0.9 if steps[0] == "2" else 0.4


def solved(strategy: str, n: int, **settings: Any) -> prm_train.Answer:
    policy, scorer = ScriptedPolicy(write), ScriptedScorer(judge)
    return prm_train.solve("?", policy, scorer, strategy, n, grader="exact", **settings)


def test_the_heaviest_answer_is_given_with_its_share_its_steps_and_their_scores() -> None:
    """Beams of 3 paths: 7 weighs 0.4 + 0.4 by score, 8 weighs 0.9."""
    answer = solved("beam:width=1", 3)
    assert (answer.answer, answer.steps, answer.scores) == ("8", ("2", "Answer: 8"), (0.9, 0.9))
    assert answer.shares == pytest.approx({"8": 0.9 / 1.7, "7": 0.8 / 1.7})
    assert answer.confidence == answer.shares["8"]
    assert answer.cost.policy.n_generated == 3 * len("0\nAnswer: 7")


def test_one_question_gets_one_answer_whatever_else_the_event_loop_does() -> None:
    async def cell() -> prm_train.Answer:
        return solved("particle_filter", 3)

    assert asyncio.run(cell()) == solved("particle_filter", 3)


def test_without_a_scorer_only_a_majority_is_found() -> None:
    policy = prm_train.load_policy("simulated")
    answer = prm_train.solve(
        "Start with 3: fold 4, times 9.", policy, None, "majority", 8, grader="arithmetic", max_new_tokens=400
    )
    assert answer.answer is not None
    assert answer.scores == ()
    assert sum(answer.shares.values()) == pytest.approx(1.0)
    assert [round(8 * share, 6) % 1 for share in answer.shares.values()] == [0.0] * len(answer.shares)
    with pytest.raises(ValueError, match="strategy beam: got no scorer, expected one"):
        prm_train.solve("?", policy, None, "beam")
    with pytest.raises(ValueError, match="strategy beam: got an ORM, which scores whole solutions"):
        prm_train.solve("?", policy, length_scorer(scores_steps=False), "beam")
    with pytest.raises(ValueError, match="strategy: got 'bean', expected one of majority, weighted"):
        prm_train.solve("?", policy, None, "bean")


def test_a_vote_that_is_settled_draws_no_more() -> None:
    """Ten of ten samples say 7: with 95 % four are enough, so the second window of three is the last one."""
    policy = ScriptedPolicy(lambda text, index: "Answer: 7")
    answer = prm_train.solve("?", policy, None, "majority", 10, grader="exact", stop_early="beta", window=3)
    assert [index for _, index in policy.asked] == list(range(6))
    assert (answer.answer, answer.confidence) == ("7", 1.0)
    assert answer.cost.policy.n_generated == 6 * len("Answer: 7")  # what was drawn in vain is paid for
    policy.asked.clear()
    weighted = prm_train.solve(
        "?",
        policy,
        ScriptedScorer(lambda steps: 0.5),
        "weighted",
        10,
        grader="exact",
        stop_early="beta",
        window=5,
    )
    assert (weighted.shares, len(policy.asked)) == ({"7": 1.0}, 10)
    with pytest.raises(ValueError, match="stop_early: got beta with beam, expected majority or weighted"):
        prm_train.solve("?", policy, ScriptedScorer(judge), "beam", stop_early="beta")


def test_a_clear_score_ends_the_drawing_of_weighted_and_of_plain_best_of_n() -> None:
    """Sample 2 says 8 with 0.9, those before it say 7 with 0.4."""
    for strategy in ("weighted", "best_of_n"):
        policy = ScriptedPolicy(lambda text, index: f"{index}\nAnswer: {8 if index >= 2 else 7}")
        settings: dict[str, Any] = {"window": 2, "stop_early": "margin", "confidence": 0.9, "margin": 0.5}
        answer = prm_train.solve("?", policy, ScriptedScorer(judge), strategy, 8, grader="exact", **settings)
        assert (answer.answer, answer.stopped, answer.n_voters, len(policy.asked)) == ("8", "margin", 3, 4)
    with pytest.raises(ValueError, match="stop_early: got margin with majority, expected weighted or best"):
        prm_train.solve("?", policy, None, "majority", stop_early="margin")
    with pytest.raises(ValueError, match=r"margin: got 1\.5, expected 0 to 1"):
        prm_train.solve("?", policy, ScriptedScorer(judge), "weighted", margin=1.5)


def test_a_question_without_an_answer_says_why() -> None:
    def never_ends(text: str, index: int) -> str:
        return "more\n"

    cut = prm_train.solve(
        "?", ScriptedPolicy(never_ends), ScriptedScorer(judge), "beam", 2, grader="exact", max_steps=3
    )
    assert (cut.answer, cut.confidence) == (None, 0.0)
    assert cut.unsolved == "none of 1 texts was finished and states an answer"
    long = prm_train.solve("?" * 2000, ScriptedPolicy(write), ScriptedScorer(judge), grader="exact")
    assert long.unsolved == "the question fills the policy's context"


def test_shares_of_the_vote_are_exact_and_flat_where_all_weights_are_zero() -> None:
    def voter(answer: str, weight: float) -> tuple[Any, float]:
        solution = prm_train.Solution("p", 0, answer)
        return as_candidate(solution, answer), weight

    assert vote_shares([voter("1", 0.25), voter("2", 0.5), voter("1", 0.25)]) == {"1": 0.5, "2": 0.5}
    assert vote_shares([voter("1", 0.0), voter("2", 0.0), voter("2", 0.0), voter("2", 0.0)]) == {
        "2": 0.75,
        "1": 0.25,
    }


def run_command(folder: Path, prm: str, *arguments: str) -> list[dict[str, Any]]:
    common = ("--policy.model", "simulated", "--prm", prm, "--grader", "arithmetic", "--n", "2")
    limits = ("--max_new_tokens", "60", "--output", str(folder))
    solve_questions([*common, *limits, *arguments])
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def test_questions_of_a_file_are_answered_and_a_cut_file_goes_on(
    tmp_path: Path, random_scorers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"problem": f"Start with {n}: plus 4, times 9.", "name": f"q{n}"} for n in (3, 5, 3)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--questions", str(tmp_path / "questions.jsonl"), "--trace", "true")
    answers = run_command(tmp_path / "run", random_scorers["prm"], *asked)
    assert [each["question"] for each in answers] == [row["problem"] for row in rows[:2]]  # each once
    assert "2, " in capsys.readouterr().out
    whole = (tmp_path / "run" / "answers.jsonl").read_bytes()
    (tmp_path / "run" / "answers.jsonl").write_bytes(whole[:-20])
    again = run_command(tmp_path / "run", random_scorers["prm"], *asked)
    # Scores differ by what rounding makes of another batch
    assert [(each["question"], each["answer"], each["steps"]) for each in again] == [
        (each["question"], each["answer"], each["steps"]) for each in answers
    ]
    with pytest.raises(InputError, match="another configuration: n is 2, got 3"):
        run_command(tmp_path / "run", random_scorers["prm"], *asked, "--n", "3")
    with pytest.raises(InputError, match=r"questions\.jsonl:3: id 'q3' stands at .*questions\.jsonl:1, too"):
        run_command(tmp_path / "ids", random_scorers["prm"], *asked, "--id_field", "name")

    show_tree(["--run", str(tmp_path / "run"), "--output", str(tmp_path / "tree.html")])
    page = (tmp_path / "tree.html").read_text()
    assert answers[0]["question"] in page
    assert page.count('<span class="text">') == len(answers[0]["trace"])
    with pytest.raises(InputError, match="no question q9"):
        show_tree(["--run", str(tmp_path / "run"), "--question", "q9", "--output", str(tmp_path / "x.html")])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "question, questions: expected one of them"),
        (
            ("--question", "?", "--strategy", "beam"),
            "strategy: got beam without a scorer, expected prm or orm",
        ),
        (("--question", "?", "--trace", "true"), "output: got null with trace, expected a run folder"),
        (("--question", "?", "--stop", "''"), "stop: got '', expected strings of at least one character"),
        (("--question", "?", "--n", "0"), "n: got 0, expected 1 or more"),
        (("--question", "?", "--strategy", "majority"), r"policy\.model: got null, expected the model"),
    ],
)
def test_settings_that_answer_nothing_are_refused(arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        solve_questions(list(arguments))


def test_a_tree_says_what_became_of_each_step() -> None:
    from data_gen.records.sampling import FinishReason

    trace = (
        TraceNode(None, "a\n", 0.5, -1.0, 0.0, None, n_draws=2),
        TraceNode(None, "b\n", 0.9, -1.0, 0.0, None),
        TraceNode(0, "<i>1", 0.8, -1.0, -1.0, FinishReason.EOS),
        TraceNode(0, "cut", None, -1.0, 0.0, FinishReason.LENGTH),
    )
    left, went_on = branches(trace)
    assert (left.fate, left.is_on_the_way, left.children) == ("left", False, ())
    assert (went_on.fate, went_on.is_on_the_way) == ("went on", True)
    assert [(child.fate, child.weight) for child in went_on.children] == [("finished", 1.0), ("cut", None)]
