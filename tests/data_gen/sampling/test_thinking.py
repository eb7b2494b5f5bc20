import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.ledger.verification import find_faults
from data_gen.policies.config import PolicyConfig
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem
from data_gen.sampling.forced_text import text_ids
from data_gen.sampling.solutions import Prefix, draw_solution
from data_gen.sampling.thinking import BudgetForcing, SwitchPenalty, ThinkingBudget, ThinkingSolution
from data_gen.settings.errors import InputError

PROBLEM = Problem("p", "?", "2")
EOS, END = 256, 257
PARAMS = SamplingParams(60)
LENGTH, OF_EOS, STOP = FinishReason.LENGTH, FinishReason.EOS, FinishReason.STOP


class Writer:
    """Tokens are bytes; 257 is the text "</think>". `write(text so far)` gives all that follows."""

    policy_id, base_seed = "writer", 0

    def __init__(self, write: Callable[[str], str], context_length: int = 100) -> None:
        self.write, self.context_length = write, context_length
        self.asked: list[tuple[str, SamplingParams, int]] = []

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(question.encode())

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b"", b"</think>"]

    def ids(self, text: str) -> tuple[int, ...]:
        thought, mark, answer = text.partition("</think>")
        return (*thought.encode(), *((END,) if mark else ()), *answer.encode())

    def text(self, ids: tuple[int, ...]) -> str:
        return b"".join(self.token_bytes()[each] for each in ids).decode()

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        so_far = self.text(prefix_ids)[1:]
        self.asked.append((so_far, params, index))
        ids, reason = (*self.ids(self.write(so_far)), EOS), OF_EOS
        for n in range(1, len(ids)):
            if any(stop in self.text(ids[:n]) for stop in params.stop_strings):
                ids, reason = ids[:n], STOP
                break
        if len(ids) > params.max_new_tokens:
            ids, reason = ids[: params.max_new_tokens], LENGTH
        return Completion(ids, self.text(ids), (-0.5,) * len(ids), reason, Usage(len(ids), len(prefix_ids)))


def draw(
    folder: Path,
    writer: Writer,
    budget: ThinkingBudget,
    params: SamplingParams = PARAMS,
    penalty: SwitchPenalty | None = None,
) -> ThinkingSolution:
    forcing = BudgetForcing(budget, writer.token_bytes(), penalty)
    with Ledger(folder / "l.sqlite") as ledger:
        policy = LedgerPolicy(writer, ledger, PROBLEM)
        return asyncio.run(forcing.draw(policy, Prefix(policy.encode_prompt("?")), params, 3))


def forced_text(writer: Writer, found: ThinkingSolution) -> str:
    ids = zip(found.thought.token_ids, found.thought.is_forced, strict=True)
    return writer.text(tuple(token_id for token_id, is_forced in ids if is_forced))


def test_a_thought_that_ends_too_early_goes_on_after_wait(tmp_path: Path):
    texts = {"": "a b</think>1", "a bWait": " c</think>2", "a bWait c</think>": "3"}
    writer = Writer(texts.__getitem__)
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 5, 20))  # after 3 ids, then after 9
    solution = found.solution
    assert (solution.text, solution.finish_reason, solution.index) == ("a bWait c</think>3", OF_EOS, 3)
    assert solution.token_ids == (*writer.ids("a bWait c</think>3"), EOS)
    assert [solution.token_ids[i] for i, logprob in enumerate(solution.logprobs) if logprob == 0] == list(
        b"Wait"
    )
    assert found.thought.is_forced == (False,) * 3 + (True,) * 4 + (False,) * 3
    assert found.thought.token_ids == solution.token_ids[:10]
    assert [(so_far, params.max_new_tokens, index) for so_far, params, index in writer.asked] == [
        ("", 20, 3),
        ("a bWait", 13, 3),
        ("a bWait c</think>", 50, 3),
    ]

    again = Writer(writer.write)
    assert draw(tmp_path, again, ThinkingBudget("</think>", 5, 20)) == found
    assert again.asked == []  # all of it is in the ledger
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.n_draws() == 3
    assert list(find_faults(tmp_path / "l.sqlite")) == []


def test_wait_comes_as_often_as_the_least_thinking_asks_for_and_also_after_an_eos(tmp_path: Path):
    writer = Writer(
        lambda so_far: "42" if so_far.endswith("</think>") else "" if "Wa" in so_far else "x</think>"
    )
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 10, 20, "Wa"))
    assert found.solution.text == "xWaWaWaWaWa"  # 11 ids, and then the policy ends the text
    assert (found.solution.finish_reason, found.solution.token_ids[-1]) == (OF_EOS, EOS)
    assert forced_text(writer, found) == "WaWaWaWaWa"


def test_a_thought_that_goes_on_for_too_long_gets_the_end_marker(tmp_path: Path):
    writer = Writer(lambda so_far: "42" if so_far.endswith("</think>") else "abcdefghijkl</think>")
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 2, 6))
    assert (found.solution.text, found.solution.finish_reason) == ("abcdef</think>42", OF_EOS)
    assert found.solution.token_ids[6] == END
    assert found.thought.is_forced == (False,) * 6 + (True,)
    assert [params.max_new_tokens for _, params, _ in writer.asked] == [6, 53]


def test_a_marker_of_several_tokens_is_found_and_one_that_the_limit_cut_is_completed(tmp_path: Path):
    writer = Writer(lambda so_far: "9" if so_far.endswith("END") else "abcdEND")
    for n_most, thought, n_forced in [
        (7, "abcdEND", 0),
        (6, "abcdEND", 3),
        (5, "abcdEND", 3),
        (3, "abcEND", 3),
    ]:
        (folder := tmp_path / str(n_most)).mkdir()
        writer.asked.clear()
        found = draw(folder, writer, ThinkingBudget("END", 0, n_most))
        assert found.solution.text == f"{thought}9"
        assert sum(found.thought.is_forced) == n_forced


def test_a_thought_that_fills_the_context_has_no_answer(tmp_path: Path):
    writer = Writer(lambda so_far: "abcdefghijkl</think>", context_length=11)  # 10 beside the prompt
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 2, 20))
    assert (found.solution.text, found.solution.finish_reason) == ("abcdefghij", LENGTH)
    (tmp_path / "wait").mkdir()
    found = draw(tmp_path / "wait", writer, ThinkingBudget("c", 9, 20, "WaitWait"))
    assert (found.solution.text, found.solution.finish_reason) == ("abWaitWait", LENGTH)
    (tmp_path / "end").mkdir()
    found = draw(tmp_path / "end", writer, ThinkingBudget("</think>", 2, 9))
    assert (found.solution.text, found.solution.finish_reason) == ("abcdefghi</think>", LENGTH)


def test_stop_strings_end_the_answer_and_not_the_thought(tmp_path: Path):
    writer = Writer(lambda so_far: "4\nQ: 5" if so_far.endswith("</think>") else "a\nQ: b</think>")
    params = SamplingParams(60, stop_strings=("\nQ:",))
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 0, 20), params)
    assert (found.solution.text, found.solution.finish_reason) == ("a\nQ: b</think>4", STOP)


def test_a_penalty_on_switches_is_drawn_in_pieces_and_begins_anew_with_every_switch(tmp_path: Path):
    # 3 ids biased, then free up to the switch, 3 biased, free up to the end
    writer = Writer(
        lambda so_far: "9" if so_far.endswith("</think>") else "abcde But fghij</think>"[len(so_far) :]
    )
    penalty = SwitchPenalty((" But", " Or"), nats=2.5, n_tokens=3)
    found = draw(tmp_path, writer, ThinkingBudget("</think>", 0, 30), penalty=penalty)
    assert found.solution.text == "abcde But fghij</think>9"
    stops = ("</think>", " But", " Or")
    assert [
        (so_far, each.max_new_tokens, each.biases, each.stop_strings) for so_far, each, _ in writer.asked
    ] == [
        ("", 3, ((32, -2.5),), stops),
        ("abc", 27, (), stops),
        ("abcde But", 3, ((32, -2.5),), stops),
        ("abcde But fg", 18, (), stops),
        ("abcde But fghij</think>", 44, (), ()),
    ]


def test_a_marker_that_lies_across_two_pieces_is_found(tmp_path: Path):
    writer = Writer(lambda so_far: "9" if so_far.endswith("END") else "abENDcd"[len(so_far) :])
    penalty = SwitchPenalty((" But",), n_tokens=3)
    found = draw(tmp_path, writer, ThinkingBudget("END", 0, 30), penalty=penalty)
    # The second piece could not see it, and went on
    assert [so_far for so_far, _, _ in writer.asked] == ["", "abE", "abEND"]
    assert found.solution.text == "abEND9"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ThinkingBudget("", 1, 2), "got end '' and wait 'Wait', expected two texts"),
        (lambda: ThinkingBudget("END", 1, 2, "THE END"), "expected two texts, the second without the first"),
        (lambda: ThinkingBudget("END", 5, 4), "got min_tokens 5 and max_tokens 4"),
        (lambda: ThinkingBudget("END", 0, 0), "at least 1 for the latter"),
        (lambda: SwitchPenalty(()), "expected one or more texts"),
        (lambda: SwitchPenalty((" But",), nats=-1.0), "got -1.0 nats for 600 tokens"),
        (
            lambda: BudgetForcing(ThinkingBudget("E", 7, 10), [bytes([i]) for i in range(256)]),
            "got max_tokens 10, expected at least min_tokens 7 and the 4 ids of 'Wait'",
        ),
        (
            lambda: BudgetForcing(ThinkingBudget("E", 7, 10), [b"x"]),
            "text 'E': no tokens of the policy spell it",
        ),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_of_steps_and_without_room_for_an_answer_are_refused(tmp_path: Path):
    writer, budget = Writer(str), ThinkingBudget("</think>", 2, 20)
    for params, message in [
        (SamplingParams(60, stop="\n"), "stop: got '\\\\n', expected none"),
        (SamplingParams(21), "max_new_tokens: got 21, expected more than the 21 that a thought may have"),
    ]:
        with pytest.raises(ValueError, match=message):
            draw(tmp_path, writer, budget, params)


def test_a_text_is_spelled_with_the_fewest_tokens():
    token_bytes = [b"W", b"a", b"it", b"Wa", b"i", b"t", b"ait", b"", b"ait"]
    assert text_ids("Wait", token_bytes) == (3, 2)  # of W·ait and Wa·it the one that begins with more
    assert text_ids("aWt", token_bytes) == (1, 0, 5)
    with pytest.raises(InputError, match="text 'Waiting': no tokens of the policy spell it"):
        text_ids("Waiting", token_bytes)


def test_the_engine_thinks_within_a_budget_as_it_would_have_gone_on_by_itself(tmp_path: Path):
    policy = PolicyConfig().load()
    question = "Start with 3: plus 4, times 7, minus 2."
    prompt = Prefix(policy.encode_prompt(question))
    greedy = SamplingParams(150, 0.0)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, Problem("p", question, "7 5"))

        async def solve(budget: ThinkingBudget, params: SamplingParams) -> ThinkingSolution:
            return await BudgetForcing(budget, policy.token_bytes()).draw(recorded, prompt, params, 0)

        plain = asyncio.run(draw_solution(recorded, prompt, greedy, 0))
        free = asyncio.run(solve(ThinkingBudget("Answer", 0, 100), greedy)).solution
        assert (free.text, free.token_ids) == (plain.text, plain.token_ids)
        assert free.logprobs == pytest.approx(plain.logprobs, abs=1e-4)

        n_thought = len(text_ids(plain.text.partition("Answer")[0], policy.token_bytes()))
        longer = ThinkingBudget("Answer", n_thought + 5, 120, "3 plus 4=")
        wait_ids = text_ids(longer.wait, policy.token_bytes())
        for params in (greedy, SamplingParams(150)):
            found = asyncio.run(solve(longer, params))
            ids, first = found.solution.token_ids, found.thought.is_forced.index(True)
            assert ids[first : first + len(wait_ids)] == wait_ids
            assert found == asyncio.run(solve(longer, params))
            assert len(found.solution.logprobs) == len(ids)
            assert all(math.isfinite(logprob) for logprob in found.solution.logprobs)
            if params == greedy:
                assert ids[:first] == plain.token_ids[:first]
                behind = prompt.token_ids + ids[: first + len(wait_ids)]
                went_on = asyncio.run(recorded.sample(behind, greedy, 0)).token_ids
                assert ids[len(behind) - len(prompt.token_ids) :][:5] == went_on[:5]
