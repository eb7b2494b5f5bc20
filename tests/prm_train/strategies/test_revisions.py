"""Chains of revisions by a policy whose every attempt is written down here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.chats import ChainPrompts, Message
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import PathTooLongError
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.strategies.best_of_n import draw_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.revisions import Attempt, Reviser, RevisionsConfig, revisions, score_attempts
from tests.scripted_search import PROBLEM, ScriptedPolicy, ScriptedScorer

PARAMS = SamplingParams(max_new_tokens=100)
Shown = tuple[str, ...]


class ChatScript(ScriptedPolicy):
    """`attempt(shown attempts, index)` is the next one; a text that ends with a dash was cut by the limit.
    Attempts stand between bars, which no text holds.
    """

    def __init__(self, attempt: Callable[[Shown, int], str], policy_id: str = "chat script") -> None:
        super().__init__(lambda so_far, index: attempt(shown_in(so_far), index))
        self.policy_id = policy_id

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        attempts = [message.content for message in messages if message.role == "assistant"]
        return tuple("|".join([PROBLEM.question, *attempts, ""]).encode())

    @property
    def drawn_after(self) -> list[tuple[Shown, int]]:
        return [(shown_in(so_far), index) for so_far, index in self.asked]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        draw = await super().sample(prefix_ids, params, index)
        return replace(draw, finish_reason=FinishReason.LENGTH) if draw.text.endswith("-") else draw


def shown_in(so_far: str) -> Shown:
    return tuple(so_far.split("|")[1:-1])


def counted(shown: Shown, index: int) -> str:
    """Each attempt says how many were shown to it, and its index."""
    return f"{len(shown)}{index}\nAnswer: 2"


def revise(
    folder: Path,
    policy: Policy,
    config: RevisionsConfig,
    first: Policy | None = None,
    params: SamplingParams = PARAMS,
) -> list[Attempt]:
    with Ledger(folder / "l.sqlite") as ledger:
        later = LedgerPolicy(policy, ledger, PROBLEM)
        writer = later if first is None else LedgerPolicy(first, ledger, PROBLEM)
        return asyncio.run(revisions(Reviser(later, writer, ArithmeticGrader(), params), config))


def first_lines(attempts: Sequence[Attempt]) -> list[str]:
    return [attempt.candidate.text.split("\n")[0] for attempt in attempts]


def test_each_attempt_of_a_chain_sees_those_before_it_and_chains_know_nothing_of_each_other(tmp_path: Path):
    policy = ChatScript(
        lambda shown, index: f"{shown[0][0] if shown else 'ab'[index]}{len(shown)}\nAnswer: 2"
    )
    attempts = revise(tmp_path, policy, RevisionsConfig(n=5, n_chains=2))
    assert first_lines(attempts) == ["a0", "a1", "a2", "b0", "b1"]  # 5 in 2 chains: 3 and 2
    assert [attempt.candidate.chain for attempt in attempts] == [0, 0, 0, 1, 1]
    assert [attempt.candidate.index for attempt in attempts] == [0, 1, 2, 3, 4]
    a, b = (tuple(f"{name}{n}\nAnswer: 2" for n in range(3)) for name in "ab")
    assert policy.drawn_after == [((), 0), ((), 1), (a[:1], 0), (b[:1], 0), (a[:2], 0)]
    question = Message("user", "?")
    assert attempts[1].chat == (question, Message("assistant", a[0]), question)


def test_a_chat_shows_the_last_four_attempts(tmp_path: Path):
    texts = [f"{n}\nAnswer: 2" for n in range(7)]

    def attempt(shown: Shown, index: int) -> str:
        return texts[texts.index(shown[-1]) + 1] if shown else texts[0]

    policy = ChatScript(attempt)
    revise(tmp_path, policy, RevisionsConfig(n=7, n_chains=1))
    assert [shown for shown, _ in policy.drawn_after] == [tuple(texts[max(n - 4, 0) : n]) for n in range(7)]
    policy = ChatScript(attempt, "another")
    revise(tmp_path, policy, RevisionsConfig(n=4, n_chains=1, n_shown=1))
    assert [shown for shown, _ in policy.drawn_after] == [(), *((text,) for text in texts[:3])]


def test_no_draw_is_made_twice_where_a_chat_comes_again(tmp_path: Path):
    same = ChatScript(lambda shown, index: "0\nAnswer: 2")
    attempts = revise(tmp_path, same, RevisionsConfig(n=12, n_chains=2))
    assert len(attempts) == len(set(same.asked)) == 12
    assert same.drawn_after[-4:] == [(("0\nAnswer: 2",) * 4, index) for index in range(4)]


def test_attempts_that_training_never_shows_are_not_shown_and_count(tmp_path: Path):
    def attempt(shown: Shown, index: int) -> str:
        return (
            "cut-"
            if not shown and index == 0
            else "silent"
            if shown and index == 0
            else counted(shown, index)
        )

    policy = ChatScript(attempt)
    attempts = revise(tmp_path, policy, RevisionsConfig(n=5, n_chains=1))
    shown = "01\nAnswer: 2"
    assert policy.drawn_after == [
        *(((), 0), ((), 1)),  # the first was cut: the next one sees nothing, either
        *(((shown,), 0), ((shown,), 1)),  # the first of these states no answer
        ((shown, "11\nAnswer: 2"), 0),
    ]
    assert [attempt.candidate.can_vote for attempt in attempts] == [False, True, False, True, False]


@pytest.mark.parametrize("config", [RevisionsConfig(n=4, n_chains=64), RevisionsConfig(n=4, n_shown=0)])
def test_as_many_chains_as_attempts_or_chains_that_see_nothing_are_best_of_n(
    tmp_path: Path, config: RevisionsConfig
):
    policy = ChatScript(counted)
    attempts = revise(tmp_path, policy, config)
    assert len(policy.asked) == 4
    with Ledger(tmp_path / "l.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, PROBLEM)
        samples = asyncio.run(draw_candidates(recorded, ArithmeticGrader(), PARAMS, range(4)))
    assert len(policy.asked) == 4  # the ledger has them
    found = sorted((attempt.candidate for attempt in attempts), key=lambda candidate: candidate.text)
    assert [replace(each, chain=None, index=n) for n, each in enumerate(found)] == samples


def test_a_chat_without_room_for_an_attempt_loses_its_oldest_ones(tmp_path: Path):
    def attempt(shown: Shown, index: int) -> str:
        return f"{'x' * 400}{len(shown)}\nAnswer: 2"  # 411 characters: two fill the room

    policy = ChatScript(attempt)
    revise(tmp_path, policy, RevisionsConfig(n=4, n_chains=1))
    assert [len(shown) for shown, _ in policy.drawn_after] == [0, 1, 2, 2]
    assert all(len(so_far) + 1 <= 900 for so_far, _ in policy.asked)  # of a context of 1000, 100 for the next
    policy = ChatScript(attempt, "another")
    tight = replace(PARAMS, max_new_tokens=700)
    revise(tmp_path, policy, RevisionsConfig(n=3, n_chains=1), params=tight)
    assert policy.drawn_after == [((), 0), ((), 1), ((), 2)]


def test_the_policy_may_write_what_sees_no_other_attempt(tmp_path: Path):
    base = ScriptedPolicy(lambda so_far, index: f"base {index} Answer: 2")
    reviser = ChatScript(counted)
    revise(tmp_path, reviser, RevisionsConfig(n=4, n_chains=2, base_first=True), first=base)
    assert base.asked == [("", 0), ("", 1)]
    assert reviser.drawn_after == [((f"base {n} Answer: 2",), 0) for n in range(2)]


def test_a_policy_that_reads_questions_alone_is_refused(tmp_path: Path):
    plain = ScriptedPolicy(lambda so_far, index: "Answer: 2")
    with pytest.raises(InputError, match="policy scripted: ScriptedPolicy reads questions alone; expected"):
        revise(tmp_path, plain, RevisionsConfig(n=2, n_chains=1))


class ViewingScorer(ScriptedScorer):
    """Was trained to see attempts, at most `n_most` of them; scores by how many it sees. Behind two or more,
    a step has at most `longest` letters.
    """

    scores_steps, sees_attempts = False, True

    def __init__(self, n_most: int = 9, longest: int = 99) -> None:
        super().__init__(lambda steps: 0.0)
        self.n_most, self.longest = n_most, longest
        self.seen: list[Shown] = []

    @asynccontextmanager
    async def chat_session(self, messages: Sequence[Message]) -> AsyncIterator[ScriptedScorer]:
        shown = tuple(message.content for message in messages if message.role == "assistant")
        if len(shown) > self.n_most:
            raise PathTooLongError("too long")
        self.seen.append(shown)

        def judge(steps: tuple[str, ...]) -> float:
            if len(shown) > 1 and len(steps[-1]) > self.longest:
                raise PathTooLongError("too long")
            return 0.1 * len(shown)

        yield ScriptedScorer(judge)


def attempts_of(*texts: str) -> list[Attempt]:
    """One chain, of which each attempt sees all before it."""
    question, found = Message("user", "?"), list[Attempt]()
    for n, text in enumerate(texts):
        earlier = [turn for each in texts[:n] for turn in (Message("assistant", each), question)]
        found.append(Attempt(Candidate("p", n, text, "2", False, chain=0), (question, *earlier)))
    return found


def test_a_verifier_that_was_trained_on_chains_sees_the_attempts_before(tmp_path: Path):
    async def scores(scorer: ScriptedScorer, *texts: str) -> list[float | None]:
        attempts = attempts_of(*(texts or ("a", "b", "", "d")))
        async with SharedScorer(scorer) as shared:
            found, _ = await score_attempts(PROBLEM, attempts, shared, "orm", "\n")
        return [each.scores["orm"][0] if each.scores else None for each in found]

    viewing = ViewingScorer()
    assert asyncio.run(scores(viewing)) == pytest.approx([0.0, 0.1, None, 0.3])
    assert sorted(viewing.seen) == [(), ("a",), ("a", "b", "")]
    nearsighted = ViewingScorer(n_most=1)  # shown the newest that it has room for
    assert asyncio.run(scores(nearsighted)) == pytest.approx([0.0, 0.1, None, 0.1])
    assert sorted(nearsighted.seen) == [(), ("",), ("a",)]
    assert asyncio.run(scores(ViewingScorer(n_most=-1))) == [None] * 4
    short = ViewingScorer(longest=4)  # "longer" fits behind no more than one attempt
    assert asyncio.run(scores(short, "a", "b", "longer", "d")) == pytest.approx([0.0, 0.1, 0.1, 0.3])
    assert sorted(short.seen) == [(), ("a",), ("a", "b"), ("a", "b", "longer"), ("b",)]
    plain = ScriptedScorer(lambda steps: 0.9 if steps == ("b",) else 0.4)
    assert asyncio.run(scores(plain)) == [0.4, 0.9, None, 0.4]


def test_later_attempts_are_asked_for_as_the_prompts_say(tmp_path: Path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        policy = LedgerPolicy(ChatScript(counted), ledger, PROBLEM)
        prompts = ChainPrompts("Solve: {question}", "Look again.")
        reviser = Reviser(policy, policy, ArithmeticGrader(), PARAMS, prompts)
        *_, last = asyncio.run(revisions(reviser, RevisionsConfig(n=2, n_chains=1)))
    assert [message.content for message in last.chat] == ["Solve: ?", "00\nAnswer: 2", "Look again."]


def test_attempts_after_one_chat_share_a_tree_of_the_verifier(tmp_path: Path):
    scorer, (first, second) = ViewingScorer(), attempts_of("a", "b")
    others = [replace(first, candidate=replace(first.candidate, text=text)) for text in ("c", "d")]
    attempts = [first, second, *others]
    found, _ = asyncio.run(score_attempts(PROBLEM, attempts, scorer, "orm", "\n"))
    assert [each.text for each in found] == ["a", "b", "c", "d"]
    assert [each.scores["orm"][0] for each in found] == pytest.approx([0.0, 0.1, 0.0, 0.0])
    assert sorted(scorer.seen) == [(), ("a",)]
