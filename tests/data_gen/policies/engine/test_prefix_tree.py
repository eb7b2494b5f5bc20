import torch

from data_gen.policies.engine.prefix_tree import PrefixTree, Segment

BYTES_PER_TOKEN = 2 * 4  # one layer, one head, dim 1: a key and a value in float32


def segment(token_ids):
    """Keys that spell the ids, values that are their negatives."""
    keys = torch.tensor(token_ids, dtype=torch.float32).view(1, 1, 1, -1)
    return Segment(keys, -keys.transpose(2, 3))


def insert(tree, *token_ids):
    tree.insert(token_ids, lambda start: segment(token_ids[start:]))


def lookup(tree, *token_ids):
    """What is known of `token_ids`, read back from the segments."""
    n_known, segments = tree.lookup(token_ids)
    keys = [int(key) for segment in segments for key in segment.keys.flatten()]
    assert [-value for segment in segments for value in segment.values.flatten().tolist()] == keys
    assert len(keys) == n_known
    return keys


def test_the_longest_known_start_is_found():
    tree = PrefixTree(max_bytes=1000)
    insert(tree, 1, 2, 3, 4)
    insert(tree, 1, 2, 3, 4, 5, 6)
    insert(tree, 1, 2, 7, 8)  # branches off inside the first segment
    assert lookup(tree, 1, 2, 3, 4, 5, 6, 9) == [1, 2, 3, 4, 5, 6]
    assert lookup(tree, 1, 2, 7, 8) == [1, 2, 7, 8]
    assert lookup(tree, 1, 2, 7, 9) == [1, 2, 7]
    assert lookup(tree, 1, 2, 3, 9) == [1, 2, 3]
    assert lookup(tree, 1) == [1]
    assert lookup(tree, 2) == []
    assert lookup(tree) == []


def test_what_paths_share_is_stored_once():
    tree = PrefixTree(max_bytes=1000)
    insert(tree, 1, 2, 3)
    insert(tree, 1, 2, 3)
    insert(tree, 1, 2)
    assert tree.n_bytes == 3 * BYTES_PER_TOKEN
    insert(tree, 1, 2, 4)
    insert(tree, 1, 2, 3, 5)
    assert tree.n_bytes == 5 * BYTES_PER_TOKEN


def test_leaves_that_were_not_used_go_first():
    tree = PrefixTree(max_bytes=5 * BYTES_PER_TOKEN)
    insert(tree, 1, 2)
    insert(tree, 1, 2, 3)
    insert(tree, 1, 2, 4)
    lookup(tree, 1, 2, 3)
    insert(tree, 1, 2, 5, 6)  # 6 tokens: [4] was used least recently
    assert lookup(tree, 1, 2, 4) == [1, 2]
    assert lookup(tree, 1, 2, 3) == [1, 2, 3]
    assert lookup(tree, 1, 2, 5, 6) == [1, 2, 5, 6]
    assert tree.n_bytes == 5 * BYTES_PER_TOKEN
    insert(tree, 9, 9, 9, 9, 9)  # everything else goes, parents after their children
    assert lookup(tree, 1, 2, 5) == []
    assert lookup(tree, 9, 9, 9, 9, 9) == [9, 9, 9, 9, 9]


def test_a_tree_without_room_keeps_nothing():
    for max_bytes in (0, 2 * BYTES_PER_TOKEN):
        tree = PrefixTree(max_bytes)
        insert(tree, 1, 2, 3)
        assert lookup(tree, 1, 2, 3) == []
        assert tree.n_bytes == 0
