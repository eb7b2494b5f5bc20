import torch
from transformers import Qwen2Config, Qwen2ForTokenClassification

from prm_train.checkpoints.facts import Calibration
from prm_train.scoring.step_cache import StepCache, StepNode
from prm_train.scoring.step_model import StepModel
from prm_train.scoring.wave import Row, Wave

HEAD = (5, 6)


def tiny_model() -> StepModel:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return StepModel(
        Qwen2ForTokenClassification(Qwen2Config(num_labels=2, vocab_size=20, pad_token_id=0, **sizes)),
        Calibration(),
    )


def cache_for(model: StepModel, n_tokens: int) -> StepCache:
    assert model.layout is not None
    return StepCache(n_tokens * model.layout.bytes_per_token, model.layout.bytes_per_token)


def child(parent: StepNode) -> StepNode:
    return StepNode(None, parent, (7,), parent.n_path_tokens + 1)


def plan(model: StepModel, cache: StepCache, *requested: StepNode) -> Wave:
    cache.unpin()
    wave = Wave(model, cache)
    for node in requested:
        wave.add(node)
    return wave


def compute(model: StepModel, cache: StepCache, row: Row) -> None:
    """What the scorer does with a row of a wave, without the scores."""
    ids = [token for node in row.nodes for token in node.token_ids]
    _, packed = model.forward([cache.path(row.past)], [ids], [[]])
    kept = row.nodes[: row.n_kept]
    cache.store(
        kept,
        packed[0][: sum(len(node.token_ids) for node in kept)].split([len(node.token_ids) for node in kept]),
    )


def test_the_waves_of_the_docstring():
    model = tiny_model()
    cache = cache_for(model, 1000)
    q = StepNode(None, None, HEAD, len(HEAD))
    a = child(q)
    b, e = child(a), child(a)
    c, d = child(b), child(b)

    (row,) = plan(model, cache, c, d, e).rows
    assert (row.past, row.nodes, row.n_kept, row.n_new) == (None, [q, a, b, c], 4, 5)
    compute(model, cache, row)

    first, second = plan(model, cache, d, e).rows
    assert (first.past, first.nodes, first.n_past, first.n_new) == (b, [d], 4, 1)
    assert (second.past, second.nodes, second.n_past, second.n_new) == (a, [e], 3, 1)


def test_a_step_behind_the_end_of_a_row_goes_on_in_that_row():
    model = tiny_model()
    q = StepNode(None, None, HEAD, len(HEAD))
    a = child(q)
    wave = plan(model, cache_for(model, 1000), a, child(a))
    assert [len(row.nodes) for row in wave.rows] == [3]
    assert wave.n_tokens == 4


def test_behind_a_step_that_does_not_fit_into_the_cache_nothing_is_kept_and_nobody_waits():
    model = tiny_model()
    q = StepNode(None, None, HEAD, len(HEAD))
    a = child(q)
    b, c = child(a), child(a)
    wave = plan(model, cache_for(model, 2), b, c)
    # Room for the head alone: c waits a wave for its keys and values, and then computes a again.
    assert [(row.nodes, row.n_kept) for row in wave.rows] == [([q, a, b], 1)]
    wave = plan(model, cache_for(model, 0), b, c)
    assert [(row.nodes, row.n_kept) for row in wave.rows] == [([q, a, b], 0), ([q, a, c], 0)]
