"""Beam search whose attempts are revised, by a policy and a reviser whose every text is written down here."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.chats import Message
from data_gen.records.sampling import SamplingParams
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from prm_train.strategies.revisions import Reviser
from prm_train.strategies.tree_searches import parse_strategy
from tests.prm_train.strategies.test_every_strategy import judge, ragged
from tests.prm_train.strategies.test_reanchor import WholePolicy
from tests.prm_train.strategies.test_revisions import shown_in
from tests.scripted_search import PARAMS, PROBLEM, ScriptedScorer

WHOLE = SamplingParams(max_new_tokens=100)
Judge = Callable[[tuple[str, ...]], float]


class ChatWholePolicy(WholePolicy):
    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        attempts = [message.content for message in messages if message.role == "assistant"]
        return tuple("|".join(["?", *attempts, ""]).encode())

    @property
    def revised(self) -> list[tuple[str, int]]:
        """The attempt that was shown, and the index of the draw."""
        return [(shown_in("?" + so_far)[0], index) for so_far, index in self.rollouts]


def searched(
    folder: Path, policy: ChatWholePolicy, strategy: str, n: int, score: Judge = judge
) -> list[Candidate]:
    spec, reader = parse_strategy(strategy), ArithmeticGrader()
    config = spec.config(n, spec.settings())
    with Ledger(folder / f"{strategy}.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, PROBLEM)
        reviser = Reviser(recorded, recorded, reader, WHOLE)
        found, _ = asyncio.run(
            search_tree(
                lambda grower: spec.run(grower, config, reader, reviser),
                *(recorded, reader, ScriptedScorer(score), "prm", PARAMS),
            )
        )
    return found


def steps(so_far: str, index: int) -> str:
    """Three attempts of two steps; a revision adds `+` to the first step of what it is shown."""
    if "|" in so_far:
        *_, shown, written = so_far.split("|")
        return f"Answer: {len(shown)}" if written else shown.partition("\n")[0] + "+\n"
    return f"{index}\n" if not so_far else f"Answer: {so_far[0]}"


def by_first(path: tuple[str, ...]) -> float:
    """0.2 for 0, 0.4 for 1, 0.3 for 2, and what was revised is better by 0.15 each time."""
    return {"0": 0.2, "1": 0.4, "2": 0.3}[path[0][0]] + 0.15 * path[0].count("+")


def test_the_best_attempts_are_revised_each_once_and_revisions_among_them(tmp_path: Path) -> None:
    """N / M is 3: first the three of the beam (0.4, 0.3 and 0.2), then the best of the rest (0.55)."""
    policy = ChatWholePolicy(steps)
    found = searched(tmp_path, policy, "beam_revisions:width=1:n_revisions=4", 3, by_first)
    first = ["1\nAnswer: 1", "2\nAnswer: 2", "0\nAnswer: 0"]
    assert policy.revised == [*((text, 0) for text in first), ("1+\nAnswer: 11", 0)]
    assert [each.text.partition("\n")[0] for each in found] == ["1", "2", "0", "1+", "2+", "0+", "1++"]
    assert [each.scores["prm"][-1] for each in found] == pytest.approx([0.4, 0.3, 0.2, 0.55, 0.45, 0.35, 0.7])


def test_a_revision_has_its_attempts_share_and_its_own_score(tmp_path: Path) -> None:
    found = searched(tmp_path, ChatWholePolicy(steps), "beam_revisions:width=1:n_revisions=1", 3, by_first)
    *beam, revised = found
    (shown,) = [each for each in beam if each.text == "1\nAnswer: 1"]
    assert revised.text == "1+\nAnswer: 11"
    assert shown.log_weight == pytest.approx(math.log(1 / 3 * 0.4))
    assert revised.log_weight == pytest.approx(math.log(1 / 3 * 0.55))


def test_without_revisions_it_is_beam_search(tmp_path: Path) -> None:
    beam = searched(tmp_path, plain := ChatWholePolicy(ragged), "beam", 12)
    none = searched(tmp_path, other := ChatWholePolicy(ragged), "beam_revisions:n_revisions=0", 12)
    assert none == beam
    assert (other.asked, other.rollouts) == (plain.asked, [])


def test_revised_attempts_take_no_place_from_open_paths_and_have_indices_of_their_own(tmp_path: Path) -> None:
    beam = searched(tmp_path, plain := ChatWholePolicy(ragged), "beam", 12)
    policy = ChatWholePolicy(lambda so_far, index: "Answer: 9" if "|" in so_far else ragged(so_far, index))
    found = searched(tmp_path, policy, "beam_revisions:n_revisions=5", 12)
    assert found[: len(beam)] == beam
    assert policy.asked == plain.asked
    assert len(policy.revised) == len(found) - len(beam) <= 5
    shown = [text for text, _ in policy.revised]
    assert len(set(shown)) == len(shown) > 1
    assert {index for _, index in policy.revised} == {0}
    can_vote = {each.text for each in found if each.can_vote}
    assert set(shown) <= can_vote  # neither what is cut nor what is open


def test_an_attempt_that_leaves_no_room_is_not_revised(tmp_path: Path) -> None:
    policy = ChatWholePolicy(steps)
    policy.context_length = 105  # a chat and 100 new tokens do not fit
    found = searched(tmp_path, policy, "beam_revisions:width=1:n_revisions=4", 3, by_first)
    assert (len(found), policy.rollouts) == (3, [])
