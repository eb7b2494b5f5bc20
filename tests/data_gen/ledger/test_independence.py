"""Copies among draws are found: an ignored seed by repeats, a broadcast one by equal beginnings. Independent
draws are not accused.
"""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from data_gen.ledger.independence import (
    Independence,
    Repeats,
    SharedNoise,
    count_repeats,
    examine_draws,
    tail_bound,
)
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger, open_for_reading
from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records.draw_keys import derive_seed
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem

PARAMS = SamplingParams(max_new_tokens=6)


def test_expected_repeats_are_the_summed_chances_of_meeting_an_earlier_draw():
    draws = [
        (b"aaaa", math.log(0.5)),
        (b"aaaa", math.log(0.5)),
        (b"bbbb", math.log(0.25)),
        (b"aaaa", math.log(0.5)),
    ]
    repeats = count_repeats(draws)  # nothing to repeat, then a, then a, then a or b: 0 + 0.5 + 0.5 + 0.75
    assert repeats == Repeats(n_draws=4, n_distinct=2, expected=1.75)
    assert repeats.n_repeats == 2


def test_log_probabilities_that_are_none_give_no_expectation():
    # Two different draws, each certain
    assert count_repeats([(b"aaaa", 0.0), (b"bbbb", 0.0)]).expected is None
    assert count_repeats([(b"aaaa", math.nan), (b"aaaa", math.nan)]).expected is None


def test_tail_bound_is_that_of_a_poisson_count():
    # 6.3e-6; exactly a Poisson(0.5) has 1.0e-6
    assert tail_bound(7, 0.5) == pytest.approx(math.exp(6.5) / 14**7)
    assert tail_bound(3, 3.0) == 1.0
    assert tail_bound(1, 0.0) == 0.0


def test_shared_noise_compares_with_rotated_indices():
    noise = SharedNoise()
    noise.add_prompt({0: (1, 5), 1: (2, 5), 7: (3,)})
    noise.add_prompt({0: (1, 5), 1: (2, 6), 8: (3,)})  # as they are 2 + 1 tokens are shared, rotated none
    assert (noise.n_pairs, noise.observed, noise.expected, noise.variance, noise.largest) == (
        1,
        3,
        1.5,
        2.25,
        1.5,
    )
    assert noise.bound() == pytest.approx(math.exp(-(1.5**2) / (2 * (2.25 + 1.5 * 1.5 / 3))))


class DigitPolicy:
    """Six digits, each equally likely, from whatever `seed` makes of (base seed, prefix, index)."""

    context_length = 4096

    def __init__(self, seed: Callable[[int, tuple[int, ...], int], object], base_seed: int = 0) -> None:
        self.policy_id, self.base_seed, self.seed = "digits", base_seed, seed

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(question.encode())

    def token_bytes(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        rng = random.Random(derive_seed(self.seed(self.base_seed, prefix_ids, index)))
        text = "".join(str(rng.randrange(10)) for _ in range(6))
        return Completion(
            tuple(text.encode()), text, (math.log(0.1),) * 6, FinishReason.EOS, Usage(6, len(prefix_ids), 0)
        )


def examine(
    folder: Path, policies: list[Policy], n_prompts: int, n_draws: int, params: SamplingParams = PARAMS
) -> Independence:
    async def draw_all(ledger: Ledger, policy: Policy) -> None:
        for number in range(n_prompts):
            problem = Problem(f"p{number}", f"Start with {number}: fold 4, times 9.", "0")
            recorded = LedgerPolicy(policy, ledger, problem)
            prompt = recorded.encode_prompt(problem.question)
            await asyncio.gather(*(recorded.sample(prompt, params, index) for index in range(n_draws)))

    with Ledger(folder / "l.sqlite") as ledger:
        for policy in policies:
            asyncio.run(draw_all(ledger, policy))
    with closing(open_for_reading(folder / "l.sqlite")) as database:
        (report,) = examine_draws(database)
    return report


def test_independent_draws_are_not_accused(tmp_path: Path):
    report = examine(tmp_path, [DigitPolicy(lambda base, prefix, index: (base, prefix, index))], 100, 8)
    assert report.findings == report.untested == []
    assert report.summary()["distinct_ratio"] == 1.0
    # 28 pairs a prompt, equal with probability 1e-6
    assert report.expected_repeats == pytest.approx(100 * 28e-6)


def test_a_policy_that_ignores_the_index_is_found(tmp_path: Path):
    report = examine(tmp_path, [DigitPolicy(lambda base, prefix, index: (base, prefix))], 10, 8)
    assert (
        report.findings[0]
        == "duplicate seed: 70 of 80 draws repeat an earlier one from their prefix; 7e-05 repeats were to be "
        "expected"
    )
    assert "8 draws, 1 distinct, 7e-06 repeats expected" in report.findings[1]
    assert report.findings[6] == "duplicate seed: 5 more prefixes"
    assert report.summary()["distinct_ratio"] == 0.125


def test_a_single_prefix_with_copies_is_found_among_many(tmp_path: Path):
    prefix = tuple(b"Start with 7: fold 4, times 9.")
    report = examine(
        tmp_path, [DigitPolicy(lambda base, ids, index: (ids, 0 if ids == prefix else index))], 300, 4
    )
    assert [
        finding.partition(" of problem ")[2]
        for finding in report.findings
        if "prefix " in finding and "problem" in finding
    ] == ["p7: 4 draws, 1 distinct, 3e-06 repeats expected"]


def test_another_base_seed_that_brings_the_same_draws_is_found(tmp_path: Path):
    policies: list[Policy] = [
        DigitPolicy(lambda base, prefix, index: (prefix, index), base_seed) for base_seed in (0, 1)
    ]
    report = examine(tmp_path, policies, 10, 4)
    assert report.findings[0].startswith("duplicate seed: 40 of 80 draws repeat")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_one_seed_for_every_prompt_of_a_batch_is_found(tmp_path: Path, temperature: float):
    params = SamplingParams(max_new_tokens=6, temperature=temperature)
    report = examine(tmp_path, [DigitPolicy(lambda base, prefix, index: index)], 100, 8, params)
    (finding,) = report.findings  # 50 pairs of prompts, 8 draws of 6 tokens
    assert finding.startswith(
        "shared noise: over 50 pairs of prompts, draws of equal index share 2400 tokens at their beginnings, "
    )


def test_chats_with_earlier_attempts_do_not_enter_the_test_for_shared_noise(tmp_path: Path):
    policy = DigitPolicy(lambda base, prefix, index: (prefix, index))
    copying = DigitPolicy(lambda base, prefix, index: index)  # as a chain goes on until its chat changes
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for number in range(100):
            problem = Problem(f"p{number}", f"Start with {number}: fold 4, times 9.", "0")
            recorded = LedgerPolicy(policy, ledger, problem)
            prompt = recorded.encode_prompt(problem.question)
            for index in range(8):
                asyncio.run(recorded.sample(prompt, PARAMS, index))
                draw = asyncio.run(copying.sample(prompt, PARAMS, index))
                chat = (*prompt, *b"Answer: 3", *prompt)
                ledger.add(recorded.key(chat, PARAMS, index), problem.problem_id, chat, None, PARAMS, draw)
    with closing(open_for_reading(tmp_path / "l.sqlite")) as database:
        (report,) = examine_draws(database)
    assert (report.n_prefixes, report.n_draws, report.findings) == (200, 1600, [])
    assert sum(noise.n_pairs for noise in report.noise.values()) == 50  # of 100 questions


def test_greedy_draws_are_not_tested(tmp_path: Path):
    report = examine(
        tmp_path,
        [DigitPolicy(lambda base, prefix, index: prefix)],
        10,
        4,
        SamplingParams(max_new_tokens=6, temperature=0.0),
    )
    assert report.findings == []
    assert report.untested == ["temperature 0: draws from a prefix are equal by right"]


def test_draws_under_rules_about_ids_are_not_held_against_the_probabilities_of_all_ids(tmp_path: Path):
    # As if every digit but one were banned: all draws are equal by right
    params = SamplingParams(max_new_tokens=6, allowed_ids=(ord("7"),))
    report = examine(tmp_path, [DigitPolicy(lambda base, prefix, index: 7)], 10, 40, params)
    assert report.findings == []
    assert "drawn with top_p, top_k, min_p, or ids that are banned, allowed or biased" in report.untested[0]


def test_the_simulated_and_the_base_policy_are_not_accused(tmp_path: Path):
    params = SamplingParams(max_new_tokens=200)
    simulated = examine(tmp_path / "simulated", [SimulatedPolicy()], 40, 16, params)
    assert simulated.findings == []
    base = examine(tmp_path / "base", [PolicyConfig().load()], 40, 16, params)
    assert base.findings == []
    assert base.n_repeats > 50  # short answers do come twice
    assert base.n_repeats == pytest.approx(base.expected_repeats, rel=0.25)
