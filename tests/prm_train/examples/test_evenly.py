from prm_train.examples.evenly import evenly


def test_rows_are_spread_over_all_of_them():
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(7), 4) == [0, 1, 3, 5]  # and not the first four
    assert evenly(range(511), 256)[-1] == 509
    assert evenly("abc", 3) == evenly("abc", 8) == ["a", "b", "c"]
    assert evenly("abc", 0) == evenly("", 4) == []
