from prm_train.scoring.protocol import ScorerUsage


def test_usages_add_up():
    assert ScorerUsage(n_new=3, n_reused=5) + ScorerUsage(n_new=1) == ScorerUsage(n_new=4, n_reused=5)
