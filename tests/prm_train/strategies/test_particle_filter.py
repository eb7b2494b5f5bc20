"""The particle filter against a policy and a scorer whose every answer is written down here, and its
resampling by hand.
"""

import asyncio
import math
from functools import partial
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from prm_train.search.method_policy import MethodPolicy
from prm_train.strategies.best_of_n import draw_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.particle_filter import (
    ParticleFilterConfig,
    Resampling,
    effective_number,
    particle_filter,
    resampled,
    split,
    systematic_counts,
)
from prm_train.strategies.paths import SearchPath, search_tree
from tests.scripted_search import PARAMS, PROBLEM, ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: ParticleFilterConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(particle_filter, config=config), policy, scorer, folder)


def weights(candidates: list[Candidate]) -> list[float]:
    return [math.exp(candidate.log_weight) for candidate in candidates]


@pytest.mark.parametrize(
    ("laid", "at", "counts"),
    [
        # stretched to the length 4 the first three weights end at 0.4, 1.2 and 2.4
        ([1.0, 2.0, 3.0, 4.0], 0.5, [0, 1, 1, 2]),  # places 0.5, 1.5, 2.5, 3.5
        ([1.0, 2.0, 3.0, 4.0], 0.3, [1, 0, 2, 1]),  # places 0.3, 1.3, 2.3, 3.3
        ([1.0, 2.0, 3.0, 4.0], 0.0, [1, 1, 1, 1]),  # places 0, 1, 2, 3
        ([0.7, 0.7, 0.7], 0.999, [1, 1, 1]),
        ([0.0, 1.0, 0.0], 0.2, [0, 3, 0]),
        ([1.0, 1e-300], 0.9, [2, 0]),
        ([5.0], 0.7, [1]),
    ],
)
def test_systematic_resampling_by_hand(laid: list[float], at: float, counts: list[int]):
    assert systematic_counts(laid, at) == counts


def test_resampling_keeps_the_sum_of_the_weights_and_makes_them_equal():
    particles = [
        SearchPath(text=name, log_weight=math.log(weight) - 900)
        for name, weight in zip("abcd", (1, 2, 3, 4), strict=True)
    ]
    assert effective_number(particles) == pytest.approx(100 / 30)
    copies = resampled(particles, 0.5)
    assert [(path.text, path.multiplicity) for path in copies] == [("b", 1), ("c", 1), ("d", 2)]
    assert [math.exp(path.log_weight + 900) for path in copies] == pytest.approx([2.5] * 3)


def test_splitting_gives_each_text_its_share_rounded_and_keeps_its_weight():
    """1.8, 0.1 and 0.5 of 2.4 are 3.0, 0.17 and 0.83 of four places."""
    particles = [
        SearchPath(text=text, log_weight=math.log(weight) - 900)
        for text, weight in (("a", 0.9), ("b", 0.1), ("a", 0.9), ("c", 0.5))
    ]
    copies = split(particles)
    assert [(path.text, path.multiplicity) for path in copies] == [("a", 3), ("c", 1)]
    assert [math.exp(path.log_weight + 900) for path in copies] == pytest.approx([1.8 / 3, 0.5])


def test_split_particles_draw_in_their_shares_without_chance(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "abac"[index] + "\n" if not so_far else f"Answer: {index}")
    scorer = ScriptedScorer(lambda steps: {"a": 0.9, "b": 0.1, "c": 0.5}.get(steps[-1], 0.5))
    candidates = search(policy, scorer, ParticleFilterConfig(n=4, resampling="split"), tmp_path)
    assert policy.asked[4:] == [("a\n", 0), ("a\n", 1), ("a\n", 2), ("c\n", 0)]
    assert weights(candidates) == pytest.approx([*[1.8 / 3 * 0.5] * 3, 0.5 * 0.5])


def test_particles_are_copied_by_weight_and_copies_draw_different_steps(tmp_path: Path):
    script = {
        "": ["a\n", "b\n", "Answer: 9", "a\n"],
        "a\n": ["Answer: 2", "c\n", "Answer: 3"],
        "a\nc\n": ["Answer: 2"],
    }
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scores = {"a": 0.9, "b": 0.1, "Answer: 9": 0.5, "Answer: 2": 0.8, "Answer: 3": 0.2, "c": 0.6}
    candidates = search(
        policy, ScriptedScorer(lambda steps: scores[steps[-1]]), ParticleFilterConfig(n=4), tmp_path
    )
    # The open ones weigh 0.9, 0.1, 0.9; ends at 1.42, 1.58 and 3. Places of this problem's first step: 0.61,
    # 1.61 and 2.61, none for b.
    assert policy.asked == [*(("", i) for i in range(4)), *(("a\n", i) for i in range(3)), ("a\nc\n", 0)]
    assert [candidate.text for candidate in candidates] == [
        "Answer: 9",
        "a\nAnswer: 2",
        "a\nAnswer: 3",
        "a\nc\nAnswer: 2",
    ]
    mean = 1.9 / 3
    assert weights(candidates) == pytest.approx([0.5, mean * 0.8, mean * 0.2, mean * 0.6 * 0.8])
    assert [candidate.multiplicity for candidate in candidates] == [1] * 4


@pytest.mark.parametrize("resampling", ["systematic", "split"])
def test_the_final_weights_are_of_policy_times_score(tmp_path: Path, resampling: Resampling):
    """3 of 10 first steps are a. Then every second answer after a is 2, the others and all after b are 3."""

    def write(so_far: str, index: int) -> str:
        if not so_far:
            return "a\n" if index % 10 < 3 else "b\n"
        return "Answer: 2" if so_far == "a\n" and index % 2 else "Answer: 3"

    scores = {
        ("a",): 0.9,
        ("b",): 0.1,
        ("a", "Answer: 2"): 0.8,
        ("a", "Answer: 3"): 0.4,
        ("b", "Answer: 3"): 1.0,
    }
    candidates = search(
        ScriptedPolicy(write),
        ScriptedScorer(scores.__getitem__),
        ParticleFilterConfig(n=200, resampling=resampling),
        tmp_path,
    )
    share = {"2": 0.0, "3": 0.0}
    for candidate, weight in zip(candidates, weights(candidates), strict=True):
        share[candidate.answer or ""] += weight / 200
    two, three = 0.3 * 0.5 * 0.9 * 0.8, 0.3 * 0.5 * 0.9 * 0.4 + 0.7 * 0.1 * 1.0
    assert (share["2"], share["3"]) == pytest.approx((two, three), abs=0.004)
    assert len({candidate.text for candidate in candidates}) == 3


class WholeSolutions(ScriptedPolicy):
    """Draws whole solutions, too: the first step by the index, the next ones by what was written."""

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if params.stop is not None:
            return await super().sample(prefix_ids, params, index)
        text = self.write("", index)
        while text.endswith("\n"):
            text += self.write(text, 0)
        return Completion(tuple(text.encode()), text, (-1.0,) * len(text), FinishReason.EOS, Usage(len(text)))


def first_step_by_index(so_far: str, index: int) -> str:
    return f"{index}\n" if not so_far else "Answer: 2" if so_far.count("\n") > int(so_far[0]) % 3 else "on\n"


@pytest.mark.parametrize(
    ("score", "config"),
    [
        (0.5, ParticleFilterConfig(n=8)),
        (None, ParticleFilterConfig(n=8, exponent=0.0)),
        (0.5, ParticleFilterConfig(n=8, resampling="split")),
    ],
)
def test_flat_scores_make_it_plain_sampling(
    tmp_path: Path, score: float | None, config: ParticleFilterConfig
):
    scorer = ScriptedScorer(
        lambda steps: len(steps[0]) / (1 + len("".join(steps))) if score is None else score
    )
    policy = WholeSolutions(first_step_by_index)
    candidates = search(policy, scorer, config, tmp_path)
    with Ledger(tmp_path / "whole.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, PROBLEM)
        samples = asyncio.run(draw_candidates(recorded, ArithmeticGrader(), SamplingParams(100), range(8)))
    assert sorted(candidate.text for candidate in candidates) == [candidate.text for candidate in samples]
    assert len({candidate.text.count("\n") for candidate in samples}) == 3
    if score is None:
        assert weights(candidates) == [1.0] * 8


def test_one_particle_is_one_sample(tmp_path: Path):
    policy = ScriptedPolicy(first_step_by_index)
    (candidate,) = search(policy, ScriptedScorer(lambda steps: 0.01), ParticleFilterConfig(n=1), tmp_path)
    assert candidate.text == "0\nAnswer: 2"
    assert policy.asked == [("", 0), ("0\n", 0)]


def test_particles_are_resampled_only_below_a_share_of_their_number(tmp_path: Path):
    """0.9 and 0.1 are worth 1 / 0.82 = 1.22 particles of 2."""
    script = {"": ["a\n", "b\n"], "a\n": ["Answer: 2", "Answer: 2"], "b\n": ["Answer: 3"]}
    for share, drawn in (
        (0.6, [("a\n", 0), ("b\n", 0)]),
        (0.62, [("a\n", 0), ("a\n", 1)]),
        (0.0, [("a\n", 0), ("b\n", 0)]),
    ):
        policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
        scorer = ScriptedScorer(lambda steps: {"a": 0.9, "b": 0.1}.get(steps[-1], 1.0))
        (tmp_path / str(share)).mkdir()
        candidates = search(
            policy, scorer, ParticleFilterConfig(n=2, resample_below=share), tmp_path / str(share)
        )
        assert policy.asked[2:] == drawn
        assert weights(candidates) == pytest.approx(
            [0.5, 0.5] if len({text for text, _ in drawn}) == 1 else [0.9, 0.1]
        )


@pytest.mark.parametrize("early", ["Answer: 9", "x" * 101 + "\n"], ids=["finished", "beyond max_new_tokens"])
def test_an_ended_particle_is_neither_copied_nor_in_the_way_of_open_ones(tmp_path: Path, early: str):
    policy = ScriptedPolicy(
        lambda so_far, index: early if not so_far and index == 0 else f"Answer: {index}" if so_far else "a\n"
    )
    scorer = ScriptedScorer(lambda steps: 1.0 if steps[-1] == early else 0.01)
    candidates = search(policy, scorer, ParticleFilterConfig(n=4), tmp_path)
    assert policy.asked[4:] == [("a\n", 0), ("a\n", 1), ("a\n", 2)]
    assert [candidate.can_vote for candidate in candidates] == [early == "Answer: 9", True, True, True]


def test_paths_that_never_end_are_cut_and_stand_for_their_copies(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "ab"[index % 2] + "\n")
    scorer = ScriptedScorer(lambda steps: 0.999 if steps[-1] == "a" else 0.0)
    candidates = search(policy, scorer, ParticleFilterConfig(n=4, max_steps=2), tmp_path)
    assert [(each.text, each.is_finished, each.multiplicity) for each in candidates] == [
        ("a\na\n", False, 2),
        ("a\na\n", False, 2),
    ]


def test_it_costs_the_draws_that_it_made(tmp_path: Path):
    """Four first steps of 2 tokens, then four answers of 9 behind 3: every draw is another one, and paid
    for.
    """
    policy, drawn = (
        ScriptedPolicy(lambda so_far, index: f"Answer: {index}" if so_far else "a\n"),
        dict[DrawKey, Completion](),
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        alone = MethodPolicy(policy, ledger, PROBLEM, drawn)
        strategy = partial(particle_filter, config=ParticleFilterConfig(n=4))
        asyncio.run(
            search_tree(strategy, alone, ArithmeticGrader(), ScriptedScorer(lambda steps: 0.5), "prm", PARAMS)
        )
    assert len(drawn) == len(policy.asked) == 8
    assert alone.usage_alone == Usage(n_generated=4 * (2 + 9), n_prefilled=1 + 1, n_cached=4 * (1 + 3) - 2)
