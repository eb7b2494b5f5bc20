"""The trees here have a token a character: the head "Q?" is 2 tokens, the step "aa" is 3 with its marker."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

from data_gen.models.tokenizer import train_tokenizer
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import prepare_encoding
from prm_train.kinds.load import load_scorer
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import Scorer, ScorerUsage, ScoringTree
from prm_train.training.scorer_network import Kind, save_scorer
from tests.tiny_models import LLAMA, tiny_config, tiny_model

SIZES = LLAMA | {
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}
BYTES_PER_TOKEN = 256  # 2 layers x 2 heads x (8 + 8) numbers x 4 bytes


class CharacterEncoding:
    def encode_head(self, question: str) -> tuple[int, ...]:
        return tuple(ord(character) % 90 + 5 for character in question)

    def encode_step(self, step: str) -> tuple[int, ...]:
        return (*self.encode_head(step), 1)


def qwen2_prm() -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen2ForTokenClassification(Qwen2Config(num_labels=2, **SIZES)).eval()


def llama_prm() -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForTokenClassification(LlamaConfig(num_labels=2, attn_implementation="eager", **SIZES)).eval()


def llama_orm() -> PreTrainedModel:
    torch.manual_seed(2)
    return LlamaForSequenceClassification(LlamaConfig(num_labels=1, **SIZES)).eval()


def make_scorer(model: PreTrainedModel | None = None, **settings: Any) -> IncrementalScorer:
    return IncrementalScorer(model or qwen2_prm(), CharacterEncoding(), scorer_id="tiny", **settings)


async def score_path(tree: ScoringTree, steps: Sequence[str]) -> list[float]:
    nodes = [tree.root]
    for step in steps:
        nodes.append(tree.extend(nodes[-1], step))
    await tree.score(nodes[-1])
    return [await tree.score(node) for node in nodes[1:]]


@torch.inference_mode()
def score_alone(model: PreTrainedModel, question: str, steps: Sequence[str]) -> float:
    """The reference: the whole prefix from scratch, in a batch of its own, through the model's own head."""
    encoding = CharacterEncoding()
    ids = [
        *encoding.encode_head(question),
        *(token for step in steps for token in encoding.encode_step(step)),
    ]
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return torch.sigmoid(logits[-1, 1] - logits[-1, 0] if logits.dim() == 2 else logits[0]).item()


def random_paths(seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    return [[rng.choice("abc") * rng.randint(1, 5) for _ in range(rng.randint(1, 6))] for _ in range(12)]


@pytest.mark.parametrize("build", [qwen2_prm, llama_prm, llama_orm])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_batch_tokens": 1},
        {"max_batch_tokens": 60},
        {"cache_bytes": 0},
        {"cache_bytes": 30 * BYTES_PER_TOKEN},
    ],
)
def test_scores_equal_scoring_every_prefix_alone(build, settings):
    model = build()
    scorer = make_scorer(model, **settings)
    questions = ["Q?", "How much is 3 + 4?", "?"]

    async def one(question: str, paths: list[list[str]]) -> list[list[float]]:
        async with scorer.session(question) as tree:
            return list(await asyncio.gather(*(score_path(tree, steps) for steps in paths)))

    async def all_questions() -> list[list[list[float]]]:
        return list(
            await asyncio.gather(
                *(one(question, random_paths(seed)) for seed, question in enumerate(questions))
            )
        )

    for seed, (question, scored) in enumerate(zip(questions, asyncio.run(all_questions()), strict=True)):
        for steps, scores in zip(random_paths(seed), scored, strict=True):
            alone = [score_alone(model, question, steps[: n + 1]) for n in range(len(steps))]
            assert scores == pytest.approx(alone, abs=1e-5)  # one score a step
    assert scorer.n_cached_bytes == 0


def test_a_prm_scores_steps_and_an_orm_finished_paths():
    prm: Scorer = make_scorer()
    orm: Scorer = make_scorer(llama_orm())
    assert (prm.scores_steps, orm.scores_steps) == (True, False)


def test_each_distinct_token_is_computed_once():
    async def search() -> list[ScorerUsage]:
        usages = []
        async with make_scorer().session("Q?") as tree:
            await asyncio.gather(*(score_path(tree, steps) for steps in (["aa", "bb"], ["aa", "c"], ["d"])))
            usages.append(tree.usage)
            await score_path(tree, ["aa", "c", "e"])
            usages.append(tree.usage)
            await score_path(tree, ["aa", "bb"])
            usages.append(tree.usage)
        return usages

    first, extended, repeated = asyncio.run(search())
    # head 2, aa 3, bb 3 in one row; then c 2 behind head and aa (5 read), d 2 behind the head (2 read)
    assert first == ScorerUsage(n_new=12, n_reused=7)
    assert extended == ScorerUsage(n_new=14, n_reused=14)  # e 2 behind head, aa and c
    assert repeated == extended


def test_long_searches_with_ragged_steps_compute_each_distinct_token_once_too():
    """Searches of 10 to 40 steps, side by side: each asks for its next steps when it has the last scores."""
    torch.manual_seed(0)
    model = Qwen2ForTokenClassification(
        Qwen2Config(num_labels=2, **SIZES | {"max_position_embeddings": 512})
    ).eval()
    scorer = make_scorer(model)

    async def search(n_steps: int) -> tuple[int, int]:
        rng = random.Random(n_steps)
        paths: list[tuple[str, ...]] = [()]
        grown = set[tuple[str, ...]]()
        async with scorer.session("Q?") as tree:
            for depth in range(n_steps):
                paths = [(*path, rng.choice("ab") * rng.randint(1, 9)) for path in paths * 6]
                scored = await asyncio.gather(*(score_path(tree, path) for path in paths))
                grown.update(paths)
                if depth % 9 == 0:
                    for path, scores in zip(paths[:2], scored, strict=False):
                        assert scores[-1] == pytest.approx(score_alone(model, "Q?", path), abs=1e-5)
                paths = rng.sample(paths, 2)
            # the head, and a marker behind each distinct step
            return tree.usage.n_new, len("Q?") + sum(len(path[-1]) + 1 for path in grown)

    async def side_by_side() -> list[tuple[int, int]]:
        return await asyncio.gather(*(search(n_steps) for n_steps in (10, 23, 40)))

    for n_new, n_distinct in asyncio.run(side_by_side()):
        assert n_new == n_distinct


def test_steps_asked_for_one_by_one_at_once_are_one_row():
    async def search() -> ScorerUsage:
        async with make_scorer().session("Q?") as tree:
            a = tree.extend(tree.root, "aa")
            b = tree.extend(a, "bb")
            await asyncio.gather(tree.score(a), tree.score(b), tree.score(tree.extend(b, "c")))
            return tree.usage

    assert asyncio.run(search()) == ScorerUsage(n_new=10, n_reused=0)


def test_equal_step_texts_are_one_node():
    async def extend_twice() -> bool:
        async with make_scorer().session("Q?") as tree:
            return tree.extend(tree.root, "aa") is tree.extend(tree.root, "aa")

    assert asyncio.run(extend_twice())


def test_sessions_that_wait_together_share_a_batch():
    model = qwen2_prm()
    scorer = make_scorer(model)
    batch_sizes: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: batch_sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )

    async def one(question: str) -> None:
        async with scorer.session(question) as tree:
            await asyncio.gather(score_path(tree, ["aa", "b"]), score_path(tree, ["aa", "c"]))

    async def three() -> None:
        await asyncio.gather(one("Q?"), one("How?"), one("What?"))

    asyncio.run(three())
    assert batch_sizes == [3, 3]  # the heads with aa and b, then every c behind its aa


def test_callers_are_answered_while_many_others_wait():
    async def search() -> tuple[int, int]:
        async with make_scorer(max_batch_tokens=16).session("Q?") as tree:
            others = [
                asyncio.create_task(tree.score(tree.extend(tree.root, str(number))))
                for number in range(101, 400)
            ]
            await tree.score(tree.extend(tree.root, "100"))
            n_new = tree.usage.n_new
            await asyncio.gather(*others)
            return n_new, tree.usage.n_new

    at_first_answer, at_the_end = asyncio.run(search())
    # The head, 2, and the step 100: all others wait for the head's keys and values
    assert at_first_answer == 6
    assert at_the_end == 2 + 300 * 4


def test_an_evicted_step_is_computed_again_and_counted_and_keeps_its_score():
    scorer = make_scorer(cache_bytes=5 * BYTES_PER_TOKEN)

    async def search() -> tuple[list[int], list[float]]:
        n_new = []
        async with scorer.session("Q?") as tree:
            first = (await score_path(tree, ["aa"]))[0]
            n_new.append(tree.usage.n_new)
            await score_path(tree, ["d"])  # makes aa leave, not the head, which it needs itself
            n_new.append(tree.usage.n_new)
            scores = await score_path(tree, ["aa", "bb"])
            n_new.append(tree.usage.n_new)
            assert scorer.n_cached_bytes == 5 * BYTES_PER_TOKEN
        return n_new, [first, *scores]

    n_new, (first, again, last) = asyncio.run(search())
    assert n_new == [5, 7, 13]  # head and aa; d; aa and bb
    assert again == first
    assert last == pytest.approx(score_alone(qwen2_prm(), "Q?", ["aa", "bb"]), abs=1e-5)


def test_without_a_cache_every_path_is_computed_whole_in_one_batch():
    async def search() -> ScorerUsage:
        async with make_scorer(cache_bytes=0).session("Q?") as tree:
            await asyncio.gather(*(score_path(tree, steps) for steps in (["aa", "bb"], ["aa", "c"], ["d"])))
            return tree.usage

    assert asyncio.run(search()) == ScorerUsage(n_new=8 + 7 + 4, n_reused=0)


def test_closing_a_session_frees_its_cache_and_no_other():
    scorer = make_scorer()

    async def two_sessions() -> list[int]:
        async with scorer.session("Q?") as outer:
            await score_path(outer, ["aa"])
            async with scorer.session("Why?") as inner:
                await score_path(inner, ["b", "b"])
                both = scorer.n_cached_bytes
            return [both, scorer.n_cached_bytes]

    assert asyncio.run(two_sessions()) == [(5 + 8) * BYTES_PER_TOKEN, 5 * BYTES_PER_TOKEN]
    assert scorer.n_cached_bytes == 0


def test_an_error_in_the_model_reaches_every_caller_and_the_scorer_works_again():
    model = qwen2_prm()
    scorer = make_scorer(model)

    def break_down(*_: object) -> None:
        raise FloatingPointError("broken")

    async def one(question: str) -> float:
        async with scorer.session(question) as tree:
            return (await score_path(tree, ["aa"]))[0]

    async def both() -> list[float | BaseException]:
        return list(await asyncio.gather(one("Q?"), one("Why?"), return_exceptions=True))

    async def broken_then_whole() -> tuple[list[float | BaseException], list[float | BaseException]]:
        hook = model.model.register_forward_pre_hook(break_down)
        broken = await both()
        hook.remove()
        return broken, await both()

    broken, whole = asyncio.run(broken_then_whole())
    assert [str(error) for error in broken] == ["broken", "broken"]
    assert whole == pytest.approx(
        [score_alone(model, "Q?", ["aa"]), score_alone(model, "Why?", ["aa"])], abs=1e-5
    )


def test_a_cancelled_caller_is_not_computed_and_leaves_the_others_alone():
    async def search() -> tuple[ScorerUsage, float]:
        async with make_scorer().session("Q?") as tree:
            cancelled = asyncio.create_task(tree.score(tree.extend(tree.root, "aaaa")))
            kept = asyncio.create_task(tree.score(tree.extend(tree.root, "b")))
            await asyncio.sleep(0)
            cancelled.cancel()
            score = await kept
            return tree.usage, score

    usage, score = asyncio.run(search())
    assert usage == ScorerUsage(n_new=4, n_reused=0)
    assert score == pytest.approx(score_alone(qwen2_prm(), "Q?", ["b"]), abs=1e-5)


def test_a_session_closed_under_a_waiting_caller_is_that_callers_error():
    scorer = make_scorer()

    async def close_early() -> float:
        async with scorer.session("Q?") as tree:
            waiting = asyncio.create_task(tree.score(tree.extend(tree.root, "aa")))
            await asyncio.sleep(0)
        return await waiting

    with pytest.raises(RuntimeError, match="closed before"):
        asyncio.run(close_early())
    assert scorer.n_cached_bytes == 0


def test_a_scorer_serves_one_event_loop_after_another():
    scorer = make_scorer()

    async def one() -> list[float]:
        async with scorer.session("Q?") as tree:
            return await score_path(tree, ["aa", "b"])

    assert asyncio.run(one()) == asyncio.run(one())


def test_steps_and_nodes_that_cannot_be_scored_are_refused():
    scorer = make_scorer()

    async def misuse() -> None:
        async with scorer.session("Q?") as tree, scorer.session("Why?") as other:
            for blank in ("", " \n"):
                with pytest.raises(ValueError, match="blank step"):
                    tree.extend(tree.root, blank)
            with pytest.raises(ValueError, match="another session's tree"):
                tree.extend(other.root, "aa")
            with pytest.raises(ValueError, match="got the root"):
                await tree.score(tree.root)
            with pytest.raises(ValueError, match="path of 66 tokens: longer than the scorer's context of 64"):
                tree.extend(tree.extend(tree.root, "a" * 61), "b")
        with pytest.raises(RuntimeError, match="closed"):
            tree.extend(tree.root, "aa")

    asyncio.run(misuse())


def test_other_models_and_settings_are_refused():
    with pytest.raises(
        ValueError, match="Qwen2ForTokenClassification with 3 classes: expected a token classifier with 2"
    ):
        make_scorer(Qwen2ForTokenClassification(Qwen2Config(num_labels=3, **SIZES)))
    with pytest.raises(ValueError, match="LlamaForSequenceClassification with 2 classes"):
        make_scorer(LlamaForSequenceClassification(LlamaConfig(num_labels=2, **SIZES)))
    bert = BertConfig(
        num_labels=2,
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
    )
    with pytest.raises(ValueError, match="max_batch_tokens: got 0"):
        make_scorer(max_batch_tokens=0)
    with pytest.raises(ValueError, match="cache_bytes: got -1"):
        make_scorer(cache_bytes=-1)
    with pytest.raises(ValueError, match="BertModel does not cache keys and values"):
        make_scorer(BertForTokenClassification(bert))


# Of 100 ids, and with contexts, windows (40) and a LongRoPE border (64) that the paths below go beyond.
@pytest.mark.parametrize(
    "name", ["mistral|window", "gemma2", "phi3|longrope", "deepseek_v3", "gpt2", "qwen3_next"]
)
def test_paths_of_any_architecture_are_scored_as_the_model_scores_them_alone(name):
    config = tiny_config(name, vocab_size=100, pad_token_id=0, num_labels=2)
    model = tiny_model(AutoModelForTokenClassification, config)
    scorer, steps = make_scorer(model, max_batch_tokens=500), ["a" * 20, "b" * 25, "c" * 30, "d" * 20]
    paths = [steps, [*steps[:2], "e" * 9], ["f" * 50], ["g"]]

    async def one_by_one_and_together() -> tuple[list[list[float]], list[list[float]], ScorerUsage]:
        async with scorer.session("Q?") as tree:
            node, slowly = tree.root, []
            for step in steps:
                node = tree.extend(node, step)
                slowly.append(await tree.score(node))
            usage = tree.usage
        async with scorer.session("Q?") as tree:
            return [slowly], list(await asyncio.gather(*(score_path(tree, path) for path in paths))), usage

    slowly, together, usage = asyncio.run(one_by_one_and_together())
    for path, scores in zip([steps, *paths], slowly + together, strict=True):
        alone = [score_alone(model, "Q?", path[: n + 1]) for n in range(len(path))]
        assert scores == pytest.approx(alone, abs=1e-5)
    n_tokens = [2 + 21, 2 + 21 + 26, 2 + 21 + 26 + 31, 2 + 21 + 26 + 31 + 21]
    if name == "qwen3_next":
        assert usage == ScorerUsage(n_new=sum(n_tokens), n_rescored=sum(n_tokens[:3]))
    elif name == "phi3|longrope":  # two paths are longer than 64 tokens
        assert usage == ScorerUsage(n_new=49 + 80 + 101, n_reused=23, n_rescored=49 + 80)
    else:
        assert usage == ScorerUsage(n_new=101, n_reused=23 + 49 + 80)


def test_the_end_of_the_context_is_no_end_for_the_padding_of_others():
    model = tiny_model(
        AutoModelForTokenClassification,
        tiny_config("gpt2", vocab_size=100, pad_token_id=0, num_labels=2, n_positions=32),
    )

    async def search() -> list[float]:
        async with make_scorer(model).session("Q?") as tree:
            long = tree.extend(tree.root, "a" * 26)
            await tree.score(long)
            return list(
                await asyncio.gather(
                    tree.score(tree.extend(long, "b")), tree.score(tree.extend(tree.root, "c" * 20))
                )
            )

    assert asyncio.run(search()) == pytest.approx(
        [score_alone(model, "Q?", ["a" * 26, "b"]), score_alone(model, "Q?", ["c" * 20])], abs=1e-5
    )


def test_a_model_that_looks_ahead_is_refused():
    config = tiny_config(
        "gemma3_text", vocab_size=100, pad_token_id=0, num_labels=1, use_bidirectional_attention=True
    )
    with pytest.raises(ValueError, match="expected a causal transformer"):
        make_scorer(tiny_model(AutoModelForSequenceClassification, config))


@pytest.mark.parametrize("build", [qwen2_prm, llama_orm])
def test_a_saved_scorer_scores_as_it_did_and_its_id_follows_its_weights(build, tmp_path):
    tokenizer = train_tokenizer(["3 plus 4 = 7\n", "Start with 3: plus 4."], 300, 64)
    encoding = prepare_encoding(tokenizer, "\n")
    model = build()
    kind: Kind = "orm" if model.config.num_labels == 1 else "prm"
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    facts = CheckpointFacts(kind, encoding.facts, "made up for a test", "last")
    save_scorer(model, encoding, facts, tmp_path / "first")
    save_scorer(model, encoding, facts, tmp_path / "copy")
    question, steps = "Start with 3: plus 4.", ["3 plus 4 = 7", "Answer: 7"]
    before = IncrementalScorer(model, encoding, scorer_id="in memory")

    async def one(scorer: Scorer) -> list[float]:
        async with scorer.session(question) as tree:
            return await score_path(tree, steps)

    loaded = load_scorer(str(tmp_path / "first"))
    assert asyncio.run(one(loaded)) == asyncio.run(one(before))
    assert loaded.scores_steps == (kind == "prm")
    assert loaded.scorer_id == load_scorer(str(tmp_path / "copy")).scorer_id
    with torch.no_grad():
        model.score.weight += 1e-3
    save_scorer(model, encoding, facts, tmp_path / "other")
    assert loaded.scorer_id != load_scorer(str(tmp_path / "other")).scorer_id
