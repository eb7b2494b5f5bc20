import asyncio
import gc
import math
import weakref
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from data_gen.models.tokenizer import EOS, train_tokenizer
from data_gen.policies.engine.plain_batch import PlainBatch
from data_gen.policies.engine.plain_model import PlainModel
from data_gen.policies.engine.transformers_policy import TransformersPolicy, load_policy
from data_gen.records.sampling import FinishReason, SamplingParams, Usage
from tests.tiny_models import LLAMA, tiny_config, tiny_model

CONTEXT = 160
# Far from uniform next tokens
SHAPE = LLAMA | {"max_position_embeddings": CONTEXT, "initializer_range": 0.3, "tie_word_embeddings": False}
GREEDY = SamplingParams(max_new_tokens=100, temperature=0)
FREE = SamplingParams(max_new_tokens=40)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        ["3 plus 4 = 7\n7 minus 2 = 5\n\nAnswer: 7 5"] * 20, vocab_size=290, context_length=CONTEXT
    )


def make_model(tokenizer, kind="qwen2", **shape):
    config_class, model_class = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[kind]
    torch.manual_seed(0)
    ids = {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        "bos_token_id": None,
    }
    return model_class(config_class(**(SHAPE | ids | shape)))


@pytest.fixture(scope="module")
def policy(tokenizer):
    return TransformersPolicy(make_model(tokenizer), tokenizer)


def gather(policy, requests):
    """Completions of concurrent `(prefix_ids, params, index)` requests."""

    async def draw():
        return await asyncio.gather(*(policy.sample(*request) for request in requests))

    return asyncio.run(draw())


def ids_of(completions):
    return [completion.token_ids for completion in completions]


def prompts(tokenizer, n):
    return [tuple(tokenizer.encode("3 plus 4 = 7\n" * (i % 3) + "minus"[: i % 6] + str(i))) for i in range(n)]


# The first two have a decoder of their own, the third runs in transformers
@pytest.mark.parametrize("kind", ["qwen2", "llama", "qwen3"])
def test_greedy_draws_are_those_of_generate(tokenizer, kind):
    policy = TransformersPolicy(make_model(tokenizer, kind), tokenizer, max_rows=5)
    plain = make_model(tokenizer, kind)
    prefixes = prompts(tokenizer, 12)
    completions = gather(policy, [(prefix, GREEDY, 0) for prefix in prefixes])
    for prefix, completion in zip(prefixes, completions, strict=True):
        wanted = plain.generate(torch.tensor([prefix]), max_new_tokens=100, do_sample=False, pad_token_id=0)[
            0, len(prefix) :
        ]
        assert completion.token_ids == tuple(wanted.tolist())


LARGE = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 768}


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_the_weights_of_a_larger_network_are_laid_out_anew_and_stay_what_they_are(tokenizer, kind):
    plain = make_model(tokenizer, kind, tie_word_embeddings=True, **LARGE)
    model = make_model(tokenizer, kind, tie_word_embeddings=True, **LARGE)
    policy = TransformersPolicy(model, tokenizer)
    [prefix] = prompts(tokenizer, 3)[2:]
    wanted = plain.generate(torch.tensor([prefix]), max_new_tokens=100, do_sample=False, pad_token_id=0)
    [completion] = gather(policy, [(prefix, GREEDY, 0)])
    assert completion.token_ids == tuple(wanted[0, len(prefix) :].tolist())

    for (name, was), now in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(was, now), name
    batch: Any = policy._batch
    layer = batch._model._decoder._layers[0]
    assert layer.qkv.data_ptr() == model.model.layers[0].self_attn.q_proj.weight.data_ptr()  # no second copy


class Rows:
    """32 rows, of which each draw takes one."""

    max_rows = 32

    def __init__(self):
        self.draws = []

    @property
    def n_free_rows(self):
        return self.max_rows - len(self.draws)

    def row_key(self, draw):
        return draw

    def admit(self, draws):
        self.draws += draws


def test_draws_join_when_they_take_an_eighth_of_the_rows_or_were_held_for_four_steps(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    rows: Any = Rows()
    policy._batch = rows

    async def n_rows_after_steps():
        n_rows = []
        for n_new in (16, 1, 1, 1, 0, 0, 0, 0, 40):
            for _ in range(n_new):
                policy._waiting.append((policy._new_draw((1, 2), FREE, 0), asyncio.Future()))
            policy._admit()
            n_rows.append(len(rows.draws))
        return n_rows

    # Nothing is held where no row is under way. One of 16 is too few, two are enough; one of 18 is held four
    # times. Of 40 there is room for 13.
    assert asyncio.run(n_rows_after_steps()) == [16, 16, 18, 18, 18, 18, 18, 19, 32]


def test_logprobs_are_those_of_the_whole_text_at_temperature_1(policy, tokenizer):
    prefix = prompts(tokenizer, 3)[2]
    for temperature in (1.0, 0.5, 0.0):
        [completion] = gather(policy, [(prefix, SamplingParams(100, temperature), 3)])
        ids = torch.tensor([(*prefix, *completion.token_ids)])
        with torch.inference_mode():
            logprobs = make_model(tokenizer)(ids).logits[0, len(prefix) - 1 : -1].log_softmax(-1)
        wanted = logprobs.gather(1, ids[0, len(prefix) :, None])[:, 0]
        assert completion.logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


def test_a_draw_is_the_same_whatever_else_is_drawn(tokenizer):
    prefixes = prompts(tokenizer, 6)
    requests = [(prefix, FREE, index) for prefix in prefixes for index in range(8)]
    together = ids_of(gather(TransformersPolicy(make_model(tokenizer), tokenizer), requests))
    few_rows = ids_of(gather(TransformersPolicy(make_model(tokenizer), tokenizer, max_rows=3), requests))
    no_cache = TransformersPolicy(make_model(tokenizer), tokenizer, prefix_cache_bytes=0)
    alone = [ids_of(gather(no_cache, [request]))[0] for request in requests]
    assert together == few_rows == alone


def computed_rows(policy):
    """A list to which every decoding step of the policy appends how many rows it computes."""
    rows, decode = [], policy._batch._model.decode

    def counting(blocks, token_ids):
        rows.append(len(token_ids))
        return decode(blocks, token_ids)

    policy._batch._model.decode = counting
    return rows


def test_draws_that_write_the_same_are_computed_once_and_fork_where_they_differ(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    rows = computed_rows(policy)
    [prefix] = prompts(tokenizer, 1)
    greedy = ids_of(gather(policy, [(prefix, GREEDY, index) for index in range(50)]))
    assert len(set(greedy)) == 1
    assert rows == [1] * len(greedy[0])

    # A step computes as many rows as there are different beginnings of draws that have not ended.
    rows.clear()
    params = SamplingParams(8, 0.3)
    drawn = ids_of(gather(policy, [(prefix, params, index) for index in range(20)]))
    beginnings = [len({ids[:n] for ids in drawn if len(ids) > n}) for n in range(8)]
    assert beginnings[0] == 1
    assert beginnings[-1] > 4
    # Idle rows may be computed until the tier is compacted
    assert all(n <= got <= n / (1 - 0.125) for n, got in zip(beginnings, rows, strict=True))


def test_forks_are_parked_where_rows_are_bounded_and_nothing_is_computed_twice(tokenizer):
    requests = [(prefix, FREE, index) for prefix in prompts(tokenizer, 4) for index in range(12)]
    wanted = gather(TransformersPolicy(make_model(tokenizer), tokenizer), requests)
    n_beginnings = len(
        {
            (c[0], d.token_ids[:n])
            for c, d in zip(requests, wanted, strict=True)
            for n in range(len(d.token_ids))
        }
    )
    for max_rows in (1, 3, 10):
        policy = TransformersPolicy(make_model(tokenizer), tokenizer, max_rows=max_rows)
        rows = computed_rows(policy)
        assert ids_of(gather(policy, requests)) == ids_of(wanted)
        assert max(rows) <= max_rows
        if max_rows < 8:  # too few for idle ones
            assert sum(rows) == n_beginnings


def test_draws_of_one_history_keep_their_own_rules(tokenizer):
    [prefix] = prompts(tokenizer, 1)
    settings = [
        SamplingParams(9),
        SamplingParams(30),
        SamplingParams(30, 0.0),
        SamplingParams(30, 0.5),
        SamplingParams(30, top_k=2),
        SamplingParams(30, stop="7"),
        SamplingParams(30, stop="\n"),
        SamplingParams(30, stop_strings=("3",)),
    ]
    requests = [(prefix, params, index) for index in range(6) for params in settings]
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    together = gather(policy, requests)
    for request, completion in zip(requests, together, strict=True):
        [alone] = gather(TransformersPolicy(make_model(tokenizer), tokenizer), [request])
        assert (alone.token_ids, alone.text, alone.finish_reason) == (
            completion.token_ids,
            completion.text,
            completion.finish_reason,
        )
        assert completion.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
    # One draw paid for the prefix, whatever the rules of the others
    assert sum(c.usage.n_prefilled for c in together) == len(prefix)
    assert {reason for reason in FinishReason} == {c.finish_reason for c in together}


def test_draws_differ_by_index_prefix_and_base_seed(policy, tokenizer):
    prefix, other = prompts(tokenizer, 2)
    params = SamplingParams(max_new_tokens=10)
    draws = ids_of(gather(policy, [(prefix, params, index) for index in range(20)]))
    assert len(set(draws)) == 20
    assert ids_of(gather(policy, [(prefix, params, index) for index in range(20)])) == draws
    assert ids_of(gather(policy, [(other, params, 0)])) != draws[:1]
    reseeded = TransformersPolicy(make_model(tokenizer), tokenizer, base_seed=1)
    assert reseeded.policy_id == policy.policy_id
    assert ids_of(gather(reseeded, [(prefix, params, 0)])) != draws[:1]


def test_first_tokens_follow_the_model(policy, tokenizer):
    [prefix] = prompts(tokenizer, 1)
    n = 4000
    for temperature in (1.0, 0.6):
        completions = gather(policy, [(prefix, SamplingParams(1, temperature), index) for index in range(n)])
        counts = Counter(completion.token_ids[0] for completion in completions)
        with torch.inference_mode():
            p = (
                (make_model(tokenizer)(torch.tensor([prefix])).logits[0, -1] / temperature)
                .softmax(-1)
                .tolist()
            )
        expected = {token_id: n * p_token for token_id, p_token in enumerate(p) if n * p_token >= 5}
        seen = {token_id: counts[token_id] for token_id in expected}
        pairs = [
            *zip(expected.values(), seen.values(), strict=True),
            (n - sum(expected.values()), n - sum(seen.values())),
        ]
        chi_square, n_free = sum((want - got) ** 2 / want for want, got in pairs), len(pairs) - 1
        assert n_free > 5
        assert chi_square < n_free + 4 * math.sqrt(2 * n_free)


def test_usage_books_a_shared_prefix_once_and_reads_known_ones_from_the_cache(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    prefix = tuple(tokenizer.encode("3 plus 4 = 7\n"))
    n = len(prefix)
    first = gather(policy, [(prefix, FREE, index) for index in range(3)])
    assert [(c.usage.n_prefilled, c.usage.n_cached) for c in first] == [(n, 0), (0, n), (0, n)]
    assert [c.usage.n_generated for c in first] == [len(c.token_ids) for c in first]
    [again] = gather(policy, [(prefix, FREE, 3)])
    # The last id is always computed: its logits are not kept
    assert again.usage == Usage(len(again.token_ids), 1, n - 1)
    longer, longest = (*prefix, 30, 31, 32), (*prefix, 30, 31, 32, 33, 34)
    nested = gather(policy, [(longer, FREE, 0), (longest, FREE, 0)])
    # the longest is computed first and the other found in it
    assert [(c.usage.n_prefilled, c.usage.n_cached) for c in nested] == [(1, n + 2), (6, n - 1)]


def test_prefixes_that_branch_from_one_start_compute_it_once(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    start = tuple(range(30, 60))
    paths = [(*start, *branch, 99) for branch in ((70, 71), (80, 81, 82), (90,))]
    completions = gather(policy, [(path, FREE, 0) for path in paths])
    assert sorted((c.usage.n_prefilled, c.usage.n_cached) for c in completions) == [(3, 30), (4, 30), (32, 0)]
    alone = TransformersPolicy(make_model(tokenizer), tokenizer, prefix_cache_bytes=0)
    assert ids_of(completions) == [ids_of(gather(alone, [(path, FREE, 0)]))[0] for path in paths]


def force_text(model, tokenizer, pieces):
    """Make `model` write these tokens one after another, whatever it reads: position p is followed by
    pieces[p].
    """
    hidden = model.config.hidden_size
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        # each token's embedding is a basis vector, and the head reads which token follows it
        for i, token_id in enumerate(pieces[:-1]):
            model.get_input_embeddings().weight[token_id, i] = 1
            model.lm_head.weight[pieces[i + 1], i] = 100
    assert len(pieces) <= hidden
    return model


def test_a_stop_ends_with_the_token_that_completes_the_separator(tokenizer):
    tokenizer.add_tokens([".\n\n"])
    start, word, newline, inside = (
        tokenizer.encode("3")[0],
        tokenizer.encode("A")[0],
        tokenizer.encode("\n")[0],
        len(tokenizer) - 1,
    )
    end = tokenizer.eos_token_id
    double = SamplingParams(10, temperature=0, stop="\n\n")
    cases = [
        ([start, word, inside, end], SamplingParams(10, 0, "\n\n"), "A.\n\n", FinishReason.STOP),
        ([start, word, newline, end], SamplingParams(10, 0, "\n\n"), "A\n", FinishReason.EOS),
        ([start, word, newline, end], SamplingParams(10, 0, "\n"), "A\n", FinishReason.STOP),
        # A blank line is no step
        ([start, newline, word, end], SamplingParams(10, 0, "\n"), "\nA", FinishReason.EOS),
        ([start, newline, word, inside, end], SamplingParams(10, 0), "\nA.\n\n", FinishReason.EOS),
        ([start, newline, word, inside, end], SamplingParams(2, 0), "\nA", FinishReason.LENGTH),
    ]
    for pieces, params, text, reason in cases:
        policy = TransformersPolicy(force_text(make_model(tokenizer), tokenizer, pieces), tokenizer)
        [completion] = gather(policy, [((start,), params, 0)])
        assert (completion.text, completion.finish_reason) == (text, reason)
        assert completion.token_ids == tuple(pieces[1 : 1 + len(completion.token_ids)])
        assert (completion.token_ids[-1] == end) == (reason is FinishReason.EOS)
    # two newline tokens in a row: the second completes the separator (the model loops on a newline)
    looping = force_text(make_model(tokenizer), tokenizer, [start, word, newline])
    with torch.no_grad():
        looping.get_input_embeddings().weight[newline, 2] = 1
        looping.lm_head.weight[newline, 2] = 100
    [completion] = gather(TransformersPolicy(looping, tokenizer), [((start,), double, 0)])
    assert (completion.token_ids, completion.finish_reason) == ((word, newline, newline), FinishReason.STOP)


def test_restricted_draws_are_functions_of_their_keys_and_the_same_in_both_engines(tokenizer):
    def make(is_plain=False):
        model = make_model(tokenizer)
        policy = TransformersPolicy(model, tokenizer)
        if is_plain:
            policy._batch = PlainBatch(PlainModel(model), policy.eos_ids, 256, None)
        return policy

    restricted = [
        SamplingParams(12, top_k=1),
        SamplingParams(12, top_p=0.6),
        SamplingParams(12, 1.5, min_p=0.2),
        SamplingParams(12, 0.8, top_p=0.9, top_k=20, min_p=0.01, stop_strings=("7", "Answer")),
        SamplingParams(12, banned_ids=tuple(range(40, 280, 2))),
        SamplingParams(12, 0.5, top_k=20, allowed_ids=tuple(range(20, 120)), biases=((60, 3.0),)),
        SamplingParams(12),
    ]
    requests = [
        (prefix, params, index)
        for prefix in prompts(tokenizer, 3)
        for params in restricted
        for index in range(3)
    ]
    together = gather(make(), requests)
    backwards = gather(make(), requests[::-1])[::-1]
    alone = [gather(make(), [request])[0] for request in requests[:: len(restricted)]]
    assert ids_of(together) == ids_of(backwards) == ids_of(gather(make(is_plain=True), requests))
    assert ids_of(together[:: len(restricted)]) == ids_of(alone)
    greedy = gather(make(), [(prefix, SamplingParams(12, 0), 0) for prefix in prompts(tokenizer, 3)])
    assert ids_of(together[0:3]) == [greedy[0].token_ids] * 3  # one token to draw from
    free = {
        (prefix, index): draw
        for (prefix, params, index), draw in zip(requests, together, strict=True)
        if params == restricted[-1]
    }
    assert len(set(ids_of(free.values()))) == 9


def test_rules_about_ids_are_those_of_a_masked_softmax_at_every_token(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    prefix, banned = prompts(tokenizer, 3)[2], tuple(range(0, 280, 3))
    free = SamplingParams(30, 0)
    ruled = replace(free, banned_ids=banned, biases=((100, 4.0), (101, -4.0)))
    greedy, sampled = gather(policy, [(prefix, ruled, 0), (prefix, replace(ruled, temperature=1.0), 1)])
    for draw in (greedy, sampled):
        ids = torch.tensor([(*prefix, *draw.token_ids)])
        with torch.inference_mode():
            logits = make_model(tokenizer)(ids).logits[0, len(prefix) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(1, ids[0, len(prefix) :, None])[:, 0]
        assert draw.logprobs == pytest.approx(wanted.tolist(), abs=1e-4)  # without the rules
        logits = logits.clone()
        logits[:, 100] += 4.0
        logits[:, 101] -= 4.0
        logits[:, banned] = -math.inf
        assert set(draw.token_ids).isdisjoint(banned)
        if draw is greedy:
            assert draw.token_ids == tuple(logits.argmax(-1).tolist())
    assert ids_of(gather(policy, [(prefix, free, 0)])) != [greedy.token_ids]


def test_rules_that_leave_no_token_or_name_an_unknown_one_are_refused_before_anything_is_drawn(
    policy, tokenizer
):
    prefix, n_ids = prompts(tokenizer, 1)[0], len(policy.token_bytes())
    with pytest.raises(ValueError, match=f"banned_ids: got all {n_ids} ids of the vocabulary"):
        gather(policy, [(prefix, SamplingParams(3, banned_ids=tuple(range(n_ids))), 0)])
    with pytest.raises(ValueError, match=rf"biases: got id {n_ids}, expected ids in \[0, {n_ids}\)"):
        gather(policy, [(prefix, SamplingParams(3, biases=((n_ids, 1.0),)), 0)])


def test_a_stop_string_ends_a_draw_with_the_token_that_completes_it(tokenizer):
    start, word, newline = tokenizer.encode("3")[0], tokenizer.encode("A")[0], tokenizer.encode("\n")[0]
    q, end = tokenizer.encode("Q")[0], tokenizer.eos_token_id
    pieces = [start, newline, word, q, end]
    policy = TransformersPolicy(force_text(make_model(tokenizer), tokenizer, pieces), tokenizer)
    for stop, separator, text, reason in [
        (("AQ",), None, "\nAQ", FinishReason.STOP),
        (("nowhere", "A"), None, "\nA", FinishReason.STOP),
        (("\n",), None, "\n", FinishReason.STOP),  # other than a step's separator it may come first
        (("Q",), "A", "\nAQ", FinishReason.STOP),
        (("nowhere",), "Q", "\nAQ", FinishReason.STOP),
        (("QQ", "3\n"), None, "\nAQ", FinishReason.EOS),  # nothing of the prefix counts
    ]:
        [completion] = gather(policy, [((start,), SamplingParams(10, 0, separator, stop_strings=stop), 0)])
        assert (completion.text, completion.finish_reason) == (text, reason)


def test_a_step_draw_is_the_head_of_the_rollout_and_continues_from_the_cache(policy, tokenizer):
    [prefix] = prompts(tokenizer, 1)
    rollouts = gather(policy, [(prefix, SamplingParams(60), index) for index in range(30)])
    steps = gather(policy, [(prefix, SamplingParams(60, stop="7"), index) for index in range(30)])
    stopped = [step for step in steps if step.finish_reason is FinishReason.STOP]
    assert len(stopped) > 0
    for rollout, step in zip(rollouts, steps, strict=True):
        assert rollout.token_ids[: len(step.token_ids)] == step.token_ids
    path = (*prefix, *stopped[0].token_ids)
    continued = gather(policy, [(path, FREE, index) for index in range(4)])
    assert [(c.usage.n_prefilled, c.usage.n_cached) for c in continued] == [(1, len(path) - 1)] + [
        (0, len(path))
    ] * 3


def test_draws_end_where_the_context_ends(policy):
    prefix = (30,) * (CONTEXT - 3)
    completions = gather(policy, [(prefix, SamplingParams(100), index) for index in range(5)])
    assert {len(c.token_ids) for c in completions if c.finish_reason is FinishReason.LENGTH} == {3}
    with pytest.raises(
        ValueError, match=f"a prefix of {CONTEXT} tokens leaves no room in a context of {CONTEXT} tokens"
    ):
        gather(policy, [((30,) * CONTEXT, FREE, 0)])


def test_ids_that_the_model_does_not_have_are_refused(policy, tokenizer):
    for prefix in ((), (-1, 5), (5, 100_000)):
        with pytest.raises(ValueError, match="expected one or more ids"):
            gather(policy, [(prefix, FREE, 0)])


def test_a_policy_that_is_dropped_gives_its_memory_back_at_once(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer)
    asyncio.run(policy.sample((5, 6, 7), SamplingParams(4, 1.0, "\n", stop_strings=("x",)), 0))
    batch = weakref.ref(policy._batch)
    gc.collect()
    gc.disable()
    try:
        del policy
        assert batch() is None
    finally:
        gc.enable()


def test_a_cancelled_draw_frees_its_row_and_is_counted(tokenizer):
    policy = TransformersPolicy(make_model(tokenizer), tokenizer, max_rows=1)
    prefix, other = prompts(tokenizer, 2)
    endless = SamplingParams(150, temperature=0.01)

    async def run():
        doomed = [asyncio.create_task(policy.sample(prefix, endless, index)) for index in range(2)]
        waiting = asyncio.create_task(policy.sample(other, endless, 9))
        survivor = asyncio.create_task(policy.sample(other, SamplingParams(5), 0))
        for _ in range(6):
            await asyncio.sleep(0)
        for task in (*doomed, waiting):
            task.cancel()
        completion = await survivor
        assert all(
            [
                isinstance(outcome, asyncio.CancelledError)
                for outcome in await asyncio.gather(*doomed, waiting, return_exceptions=True)
            ]
        )
        return completion

    completion = asyncio.run(run())
    [alone] = gather(TransformersPolicy(make_model(tokenizer), tokenizer), [(other, SamplingParams(5), 0)])
    assert completion.token_ids == alone.token_ids
    assert policy.cancelled_usage.n_prefilled == len(prefix)
    assert policy.cancelled_usage.n_cached == len(prefix)
    assert 2 <= policy.cancelled_usage.n_generated <= 12
    assert gather(policy, [(other, SamplingParams(5), 0)])[0].token_ids == alone.token_ids


def test_a_draw_is_told_while_it_is_written_and_is_what_it_is_untold(policy, tokenizer):
    """Beside one that shares its history, and is told nothing; a cancelled one is told no more."""
    prefix, told, cancelled = policy.encode_prompt("3 plus 4"), list[list[int]](), list[int]()

    async def run():
        tasks = [
            asyncio.create_task(policy.sample_told(prefix, FREE, 3, lambda ids: told.append(list(ids)))),
            asyncio.create_task(policy.sample(prefix, FREE, 3)),
            asyncio.create_task(policy.sample_told(prefix, FREE, 4, lambda ids: cancelled.append(len(ids)))),
        ]
        while len(cancelled) < 2:
            await asyncio.sleep(0)
        tasks[2].cancel()
        return await asyncio.gather(*tasks[:2])

    draw, untold = asyncio.run(run())
    assert draw.token_ids == untold.token_ids
    assert told == [list(draw.token_ids[:n]) for n in range(1, len(draw.token_ids))]
    assert len(told) > 2
    assert cancelled in ([1, 2], [1, 2, 3])  # at the latest it is gone before the second token after


def test_a_cancelled_draw_leaves_those_it_shares_a_history_with(tokenizer):
    [prefix] = prompts(tokenizer, 1)
    # At so low a temperature they stay together for a while
    requests = [(prefix, SamplingParams(30, 0.2), index) for index in range(12)]
    wanted = ids_of(gather(TransformersPolicy(make_model(tokenizer), tokenizer), requests))
    for max_rows in (2, 256):
        policy = TransformersPolicy(make_model(tokenizer), tokenizer, max_rows=max_rows)

        async def run(policy=policy):
            tasks = [asyncio.create_task(policy.sample(*request)) for request in requests]
            for turn in range(9):
                await asyncio.sleep(0)
                if turn > 2:
                    tasks[turn].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        outcomes = asyncio.run(run())
        n_cancelled = 0
        for outcome, ids in zip(outcomes, wanted, strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                n_cancelled += 1
            else:
                assert outcome.token_ids == ids
        assert n_cancelled == 6
        assert policy.cancelled_usage.n_prefilled + policy.cancelled_usage.n_cached == 6 * len(prefix)
        assert policy._batch.n_free_rows == max_rows
        assert ids_of(gather(policy, requests)) == wanted


def test_a_failure_of_the_model_reaches_every_caller_and_the_policy_recovers(tokenizer):
    model = make_model(tokenizer)
    policy = TransformersPolicy(model, tokenizer, max_rows=2)
    [wanted] = gather(policy, [((30,), FREE, 0)])
    hook = model.model.rotary_emb.register_forward_pre_hook(lambda *_: 1 / 0)

    async def run():
        return await asyncio.gather(
            *(policy.sample((30,), FREE, index) for index in range(4)), return_exceptions=True
        )

    errors = asyncio.run(run())
    assert [str(error) for error in errors] == ["sampling failed"] * 4
    assert all(isinstance(error.__cause__, ZeroDivisionError) for error in errors)
    hook.remove()
    assert ids_of(gather(policy, [((30,), FREE, 0)])) == [wanted.token_ids]


def test_a_model_without_eos_is_refused_and_pad_is_not_needed(tokenizer):
    endless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="EOS"):
        TransformersPolicy(make_model(tokenizer, eos_token_id=None), endless)
    padless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token=EOS)
    assert padless.pad_token is None
    assert len(gather(TransformersPolicy(make_model(tokenizer), padless), [((30,), FREE, 0)])) == 1


def test_a_bfloat16_model_samples_and_is_another_policy(tokenizer, policy):
    half = TransformersPolicy(make_model(tokenizer).to(torch.bfloat16), tokenizer)
    assert half.policy_id != policy.policy_id
    request = (prompts(tokenizer, 3)[2], FREE, 0)
    [completion] = gather(half, [request])
    assert gather(half, [request])[0].token_ids == completion.token_ids
    ids = torch.tensor([(*request[0], *completion.token_ids)])
    with torch.inference_mode():
        logprobs = (
            make_model(tokenizer)
            .to(torch.bfloat16)(ids)
            .logits[0, len(request[0]) - 1 : -1]
            .float()
            .log_softmax(-1)
        )
    assert completion.logprobs == pytest.approx(
        logprobs.gather(1, ids[0, len(request[0]) :, None])[:, 0].tolist(), abs=0.2
    )


OTHERS = {  # architecture: how it is sampled and why
    "mistral|window": "the model's own cache, slower than others: its cache has layers of kind "
    "DynamicSlidingWindowLayer",
    "gemma2": "the model's own cache, slower than others: its attention scores are soft-capped",
    "deepseek_v3": "the model's own cache, slower than others: its cache has keys and values of shapes",
    "nemotron": "the model's own cache, slower than others: step by step, logits differ by",
    "bloom": "the model's own cache, slower than others: its layers are code of their own",
    "lfm2": "the model's own cache, slower than others: its cache has layers of kind LinearAttentionLayer",
    "mamba": "the model's own cache, slower than others: its layers are code of their own",
    "recurrent_gemma": "whole texts, token by token, slower than others",
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_language_model_is_sampled_as_it_generates(tokenizer, name, caplog):
    def make():
        return tiny_model(AutoModelForCausalLM, tiny_config(name, len(tokenizer), tokenizer.eos_token_id))

    policy, plain = TransformersPolicy(make(), tokenizer, max_rows=7), make()
    [said] = [
        record.getMessage()
        for record in caplog.records
        if record.name == "data_gen.policies.engine.transformers_policy"
    ]
    assert OTHERS[name] in said
    # The first is longer than the window of 40
    prefixes = [(*range(30, 60), *range(30, 50)), (33, 34, 35), (35, 34, 33)]
    greedy = gather(policy, [(prefix, SamplingParams(30, temperature=0), 0) for prefix in prefixes])
    for prefix, completion in zip(prefixes, greedy, strict=True):
        wanted = plain.generate(torch.tensor([prefix]), max_new_tokens=30, do_sample=False, pad_token_id=0)[
            0, len(prefix) :
        ]
        assert completion.token_ids == tuple(wanted.tolist())
        assert completion.usage == Usage(len(completion.token_ids), len(prefix), 0)
    requests = [(prefix, SamplingParams(12), index) for prefix in prefixes for index in range(4)]
    together = gather(policy, requests)
    assert ids_of(together) == [ids_of(gather(policy, [request]))[0] for request in requests]
    for (prefix, _, _), completion in zip(requests, together, strict=True):
        ids = torch.tensor([(*prefix, *completion.token_ids)])
        with torch.inference_mode():
            logprobs = plain(ids, use_cache=False).logits[0, len(prefix) - 1 : -1].log_softmax(-1)
        assert completion.logprobs == pytest.approx(
            logprobs.gather(1, ids[0, len(prefix) :, None])[:, 0].tolist(), abs=1e-4
        )


def test_beyond_the_short_length_of_longrope_a_draw_is_computed_anew(tokenizer):
    config = tiny_config("phi3|longrope", len(tokenizer), tokenizer.eos_token_id)
    policy, plain = (
        TransformersPolicy(tiny_model(AutoModelForCausalLM, config), tokenizer),
        tiny_model(AutoModelForCausalLM, config),
    )
    # Of 60, 60 and 2 tokens; the border is at 64
    prefixes = [tuple(range(30, 90)), tuple(range(40, 100)), (30, 31)]
    for prefix, completion in zip(
        prefixes, gather(policy, [(prefix, SamplingParams(8, 0), 0) for prefix in prefixes]), strict=True
    ):
        ids, logprobs = list(prefix), []
        while len(ids) < len(prefix) + len(completion.token_ids):
            with torch.inference_mode():
                row = plain(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
            ids.append(int(row.argmax()))
            logprobs.append(row.max().item())
        assert completion.token_ids == tuple(ids[len(prefix) :])
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)


def test_attention_that_decoding_does_not_know_is_not_replaced(tokenizer):
    # sinks without a window: a cache of plain keys and values, and attention that takes more than those
    model = tiny_model(
        AutoModelForCausalLM,
        tiny_config("gpt_oss", len(tokenizer), tokenizer.eos_token_id, layer_types=["full_attention"] * 2),
    )
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.sinks.fill_(3)
    [completion] = gather(TransformersPolicy(model, tokenizer), [((30, 31), SamplingParams(20, 0), 0)])
    wanted = model.generate(torch.tensor([(30, 31)]), max_new_tokens=20, do_sample=False, pad_token_id=0)[
        0, 2:
    ]
    assert completion.token_ids == tuple(wanted.tolist())
    assert model.config._attn_implementation == "eager"


def test_a_cancelled_draw_of_the_plain_way_leaves_the_others_as_they_are(tokenizer):
    policy = TransformersPolicy(
        tiny_model(
            AutoModelForCausalLM, tiny_config("mistral|window", len(tokenizer), tokenizer.eos_token_id)
        ),
        tokenizer,
    )
    requests = [((30, 31, 32), SamplingParams(40), index) for index in range(3)]
    alone = [ids_of(gather(policy, [request]))[0] for request in requests]

    async def run():
        tasks = [asyncio.create_task(policy.sample(*request)) for request in requests]
        for _ in range(4):
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        return (await tasks[2]).token_ids

    assert asyncio.run(run()) == alone[2]
    assert policy.cancelled_usage.n_prefilled == 6
    assert ids_of(gather(policy, requests)) == alone


def test_prompts_use_the_chat_template_or_a_plain_line(tokenizer, policy):
    assert (
        tokenizer.decode(policy.encode_prompt("Start with 3: plus 4."))
        == "<|user|>Start with 3: plus 4.<|end|><|assistant|>"
    )
    template, tokenizer.chat_template = tokenizer.chat_template, None
    assert tokenizer.decode(policy.encode_prompt("Start with 3: plus 4.")) == "Start with 3: plus 4.\n"
    tokenizer.chat_template = template


def test_a_saved_policy_is_the_same_policy(tokenizer, tmp_path):
    model = make_model(tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, built = load_policy(str(tmp_path)), TransformersPolicy(model, tokenizer)
    assert loaded.policy_id == built.policy_id
    assert ids_of(gather(loaded, [((30,), FREE, 0)])) == ids_of(gather(built, [((30,), FREE, 0)]))
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    assert TransformersPolicy(model, tokenizer).policy_id != built.policy_id
