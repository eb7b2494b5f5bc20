"""The replica of benchmarks.scale gives the draws of the policy behind it, in the time of a batch; kills lose
nothing in a small run.
"""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import scale_processes, simulated_replica
from benchmarks.scale import growth
from benchmarks.simulated_replica import LatentPolicy
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records.sampling import SamplingParams

PARAMS, PROMPT = SamplingParams(200), tuple(b"Start with 3: fold 4, times 9.\n")


def test_draws_come_in_the_order_of_their_lengths_and_a_cancelled_one_frees_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated_replica, "BASE_SECONDS", 0.0005)
    monkeypatch.setattr(simulated_replica, "MAX_ROWS", 8)

    async def run() -> None:
        plain, policy, ended = SimulatedPolicy(), LatentPolicy(SimulatedPolicy()), list[int]()

        async def one(index: int) -> None:
            draw = await policy.sample(PROMPT, PARAMS, index)
            assert draw == await plain.sample(PROMPT, PARAMS, index)
            ended.append(len(draw.token_ids))

        cancelled = asyncio.create_task(one(99))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(*(one(index) for index in range(8)))
        assert ended == sorted(ended)
        assert len(ended) == 8
        await asyncio.gather(*(one(index) for index in range(20)))  # more than there are rows
        assert (policy.n_begun, policy.n_made) == (29, 28)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_growth_marks_what_draws_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scale.MARK_EVERY", 1000)
    found = growth(60, tmp_path)
    assert found["n_sampled"] == 240
    assert [mark["n_draws"] for mark in found["marks"]] == [1000]
    assert len((tmp_path / "growth.log").read_text().splitlines()) == 1
    assert 0 < found["microseconds_per_draw"] < 10_000


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing_and_draw_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_processes, "N_PROBLEMS", 12)
    found = scale_processes.measure_processes(3, tmp_path)
    assert json.loads(json.dumps(found)) == found
    faults = found["faults"]
    assert faults["killed"] == 3
    assert (faults["lost"], faults["duplicated"], faults["changed"]) == (0, 0, 0)
    assert (faults["faults_in_merged_ledger"], faults["files_as_unbroken"]) == (0, 3)
