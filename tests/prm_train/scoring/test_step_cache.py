import torch

from prm_train.scoring.step_cache import StepCache, StepNode


def chain(*sizes: int) -> list[StepNode]:
    nodes: list[StepNode] = []
    for size in sizes:
        parent = nodes[-1] if nodes else None
        nodes.append(StepNode(None, parent, (7,) * size, size + (parent.n_path_tokens if parent else 0)))
    return nodes


def segments(nodes: list[StepNode]) -> list[torch.Tensor]:
    return [torch.full((len(node.token_ids), 1), float(node.n_path_tokens)) for node in nodes]


def test_the_least_recently_used_leaf_leaves_first():
    cache = StepCache(max_bytes=60, bytes_per_token=10)
    head, a, b = chain(1, 2, 2)
    c = StepNode(None, head, (7,), 2)
    cache.store([head, a, b], segments([head, a, b]))
    cache.store([c], segments([c]))
    cache.unpin()
    assert cache.n_bytes == 60
    assert cache.make_room(1)  # b is older than c and a leaf; a is as old but b hangs on it
    assert [node in cache for node in (head, a, b, c)] == [True, True, False, True]
    cache.touch(a)
    cache.unpin()
    assert cache.make_room(3)  # now c is the oldest
    assert [node in cache for node in (head, a, b, c)] == [True, True, False, False]
    assert cache.n_bytes == 30


def test_what_is_in_use_stays():
    cache = StepCache(max_bytes=30, bytes_per_token=10)
    head, a = chain(1, 2)
    cache.store([head, a], segments([head, a]))
    assert not cache.make_room(1)
    cache.unpin()
    assert not cache.make_room(4)  # more than the budget: nothing leaves for it
    assert a in cache
    assert cache.make_room(1)
    assert a not in cache


def test_a_path_is_its_segments_from_the_head_on():
    cache = StepCache(max_bytes=100, bytes_per_token=10)
    nodes = chain(1, 2, 1)
    cache.store(nodes, segments(nodes))
    assert torch.cat(cache.path(nodes[2])).flatten().tolist() == [1.0, 3.0, 3.0, 4.0]
    assert cache.path(None) == []


def test_stored_segments_are_copies():
    cache = StepCache(max_bytes=100, bytes_per_token=10)
    (head,) = chain(2)
    batch = torch.zeros(4, 1)
    cache.store([head], [batch[:2]])
    batch.fill_(9.0)
    assert cache.path(head)[0].flatten().tolist() == [0.0, 0.0]
    cache.discard(head)
    cache.discard(head)
    assert cache.n_bytes == 0
