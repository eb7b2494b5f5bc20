from types import SimpleNamespace

import pytest

from data_gen.policies.open_problems import n_open_problems


# 93,206 / (2 x 340) = 137.07; 13,600 / 680 = 20; 5,825 / 680 = 8.57 is below the fewest; 10^9 above the most
@pytest.mark.parametrize(("n_cacheable", "n_open"), [(93_206, 137), (13_600, 20), (5_825, 16), (10**9, 512)])
def test_so_many_problems_are_open_as_the_cache_holds_twice_over(n_cacheable, n_open):
    assert n_open_problems(SimpleNamespace(n_cacheable_tokens=n_cacheable), 100 + 4 * 60) == n_open


def test_a_policy_behind_a_server_takes_as_many_as_there_may_be():
    assert n_open_problems(SimpleNamespace(), 340.0) == 512


def test_a_policy_whose_cache_is_switched_off_takes_as_many_as_there_may_be():
    assert n_open_problems(SimpleNamespace(n_cacheable_tokens=0), 340.0) == 512


def test_a_run_of_which_nothing_is_sampled_takes_as_many_as_there_may_be():
    assert n_open_problems(SimpleNamespace(n_cacheable_tokens=680), None) == 512
