import asyncio
import random

import pytest

from data_gen.grading.graders import MathGrader
from data_gen.policies.exact import ExactPolicy
from data_gen.policies.simulated import SimulatedPolicy, SimulatedSolver
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import Problem, Solution

PARAMS = SamplingParams(400)
QUESTION = "How many eggs are left?\nThink — é."
GOLD = "\\frac{3}{4}"


def draw(solver: SimulatedSolver, written: bytes, index: int, params: SamplingParams = PARAMS):
    return asyncio.run(solver.sample((*solver.encode_prompt(QUESTION), *written), params, index))


def is_correct(text: str) -> bool:
    graded = asyncio.run(MathGrader().grade(Problem("p", QUESTION, GOLD), Solution("p", 0, text)))
    return graded.verdict.is_correct


def test_the_solver_answers_any_question_with_its_known_probability():
    solver = SimulatedSolver({QUESTION: GOLD}, p_step=0.8, p_silent=0.1)
    n_steps = solver.n_steps(QUESTION)
    assert solver.success_probability(QUESTION, 0) == pytest.approx(0.9 * 0.8**n_steps)
    texts = [draw(solver, b"", index).text for index in range(600)]
    assert sum(map(is_correct, texts)) / 600 == pytest.approx(0.9 * 0.8**n_steps, abs=0.06)
    assert sum(text.endswith("No answer.") for text in texts) / 600 == pytest.approx(0.1, abs=0.04)
    good = b"Step 1 goes right.\nStep 2 goes right.\n"
    n_right = sum(is_correct(good.decode() + draw(solver, good, index).text) for index in range(400))
    assert n_right / 400 == pytest.approx(solver.success_probability(QUESTION, 2), abs=0.07)


def test_rules_about_ids_are_refused_where_there_are_no_logits():
    params = SamplingParams(9, banned_ids=(1,), biases=((2, 1.0),))
    for policy, question in [
        (SimulatedSolver({QUESTION: GOLD}), QUESTION),
        (SimulatedPolicy(), "Start with 1: plus 2."),
        (ExactPolicy(), QUESTION),
    ]:
        with pytest.raises(ValueError, match="banned_ids, biases: a simulated policy has no logits"):
            asyncio.run(policy.sample(policy.encode_prompt(question), params, 0))


def test_after_a_wrong_step_the_solver_is_never_right():
    solver = SimulatedSolver({QUESTION: GOLD})
    bad = b"Step 1 goes wrong.\n"
    texts = [bad.decode() + draw(solver, bad, index).text for index in range(50)]
    assert not any(map(is_correct, texts))
    assert len(set(texts)) > 30  # and not by the same answer each time


def test_the_solver_goes_on_from_the_middle_of_a_step_and_of_the_answer():
    solver = SimulatedSolver({QUESTION: GOLD}, separator="\n\n")
    whole = draw(solver, b"", 0).text
    for end in range(0, len(whole.encode()), 7):
        written = whole.encode()[:end]
        rest = draw(solver, written, 1).text
        lines = (written.decode() + rest).split("\n\n")
        assert len(lines) == solver.n_steps(QUESTION) + 1
        assert all(line.endswith(("right.", "wrong.")) for line in lines[:-1])
        assert lines[-1].startswith(("Answer: ", "No answer."))


def test_a_draw_ends_with_its_step_or_at_its_length_and_is_the_head_of_the_whole():
    solver = SimulatedSolver({QUESTION: GOLD})
    whole = draw(solver, b"", 3)
    step = draw(solver, b"", 3, SamplingParams(400, stop="\n"))
    cut = draw(solver, b"", 3, SamplingParams(5))
    assert (whole.finish_reason, step.finish_reason, cut.finish_reason) == (
        FinishReason.EOS,
        FinishReason.STOP,
        FinishReason.LENGTH,
    )
    assert step.token_ids == whole.token_ids[: len("Step 1 goes right.\n")]
    assert cut.text == "Step "
    assert whole.token_ids[-1] == 256


def test_other_answers_make_another_policy():
    ids = {
        SimulatedSolver({QUESTION: answer}, separator).policy_id
        for answer in ("1", "2")
        for separator in ("\n", "\n\n")
    }
    assert len(ids) == 4
    rng = random.Random(0)
    shuffled = sorted([("a", "1"), ("b", "2")], key=lambda item: rng.random())
    assert SimulatedSolver(dict(shuffled)).policy_id == SimulatedSolver({"a": "1", "b": "2"}).policy_id
