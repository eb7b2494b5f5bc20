import asyncio

import pytest

from data_gen.labeling.first_error import first_bad


@pytest.mark.parametrize(
    ("error", "asked"),
    [(0, [2, 1, 0]), (1, [2, 1, 0]), (2, [2, 1]), (3, [2, 4, 3]), (4, [2, 4, 3]), (5, [2, 4])],
)
def test_a_binary_search_takes_the_last_step_for_bad_without_asking(error: int, asked: list[int]):
    probes: list[int] = []

    async def is_good(step: int) -> bool:
        probes.append(step)
        return step < error

    assert asyncio.run(first_bad(6, is_good)) == error
    assert probes == asked
