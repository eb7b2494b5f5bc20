from data_gen.policies.engine.row_batch import WORTH_WAITING_TOKENS, KnownStart, split_waiting


def known(prefix, n_cached=0):
    return KnownStart(tuple(prefix), n_cached, [])


def test_a_prefix_waits_for_one_that_computes_enough_of_it():
    start = range(WORTH_WAITING_TOKENS)
    first, second = known([*start, 90, 91]), known([*start, 80, 81])
    assert split_waiting([first, second]) == ([first], [second.prefix])

    # One shared token fewer is not worth the wait.
    first, second = known([*start[1:], 90, 91]), known([*start[1:], 80, 81])
    assert split_waiting([first, second]) == ([first, second], [])


def test_a_prefix_waits_only_for_what_it_does_not_have():
    start = range(2 * WORTH_WAITING_TOKENS)
    first = known([*start, 90, 91])
    half, most = known([*start, 80, 81], len(start) // 2), known([*start, 80, 81], len(start) // 2 + 1)
    assert split_waiting([first, half]) == ([first], [half.prefix])
    assert split_waiting([first, most]) == ([first, most], [])

    # The last id is fed by the next step, so the first three of these four are all that is to be computed.
    complete = known([5, 6, 7, 8], n_cached=3)
    assert split_waiting([known([5, 6, 7, 9]), complete]) == ([known([5, 6, 7, 9]), complete], [])


def test_a_short_prefix_inside_another_waits_for_it_and_nobody_waits_for_a_complete_one():
    assert split_waiting([known([1, 2, 3, 4]), known([1, 2, 3])]) == ([known([1, 2, 3, 4])], [(1, 2, 3)])

    complete = known([1, 2, 3, 4], n_cached=3)
    assert split_waiting([complete, known([1, 2, 3])]) == ([complete, known([1, 2, 3])], [])
