"""The benchmark of search speed: the textbook loop does what it says, and a small run writes every figure."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.searching import main, random_prm
from benchmarks.textbook import Beam, Textbook, WholeScorer
from data_gen.problems.arithmetic.task import BASE_POLICY
from prm_train.kinds.load import load_classifier
from prm_train.scoring.incremental import IncrementalScorer

POLICY = str(BASE_POLICY)


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_prm(POLICY, tmp_path_factory.mktemp("prm"))


class Scripted(Textbook):
    """Steps a, b, c … in the order of the draws, whose score is `scores`' of the letter; the second step of a
    path is its last.
    """

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores, self.asked = scores, list[list[tuple[str, ...]]]()

    def encode_prompt(self, question):
        return ()

    def next_steps(self, prompt, parents):
        self.asked.append([parent.steps for parent in parents])
        letters = "abcdefgh"[: len(parents)]
        return [
            Beam(parent.ids, (*parent.steps, letter), parent.scores, is_open=not parent.steps)
            for parent, letter in zip(parents, letters, strict=True)
        ]

    def scored(self, question, children):
        return [
            Beam(child.ids, child.steps, tuple(self.scores[step] for step in child.steps), child.is_open)
            for child in children
        ]


def test_the_textbook_extends_the_best_quarter_of_the_paths_and_ends_with_them():
    scores = {"a": 0.1, "b": 0.9, "c": 0.2, "d": 0.3, "e": 0.8, "f": 0.4, "g": 0.5, "h": 0.6}
    loop = Scripted(scores)
    ended = loop.search("a question", 8)
    assert loop.asked == [[()] * 8, [("b",), ("e",)] * 4]
    assert [beam.steps for beam in ended][:3] == [("b", "a"), ("e", "b"), ("b", "c")]
    assert len(ended) == 8


def test_whole_texts_have_the_scores_of_the_scorer_in_use(prm: str):
    model, encoding, _ = load_classifier(prm)
    question, steps = (
        "Start with 3: plus 4, times 2.",
        ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 4"),
    )

    async def score() -> list[float]:
        async with IncrementalScorer(model, encoding, scorer_id="prm").session(question) as tree:
            node, scores = tree.root, []
            for step in steps:
                node = tree.extend(node, step)
                scores.append(await tree.score(node))
            return scores

    whole = WholeScorer(model, encoding)
    long, short = whole.score([(question, steps), (question, steps[:1])])
    assert long == pytest.approx(asyncio.run(score()), abs=1e-5)
    assert short == pytest.approx(long[:1], abs=1e-5)
    n_head, n_steps = len(encoding.encode_head(question)), [len(encoding.encode_step(step)) for step in steps]
    assert whole.n_tokens == 2 * n_head + sum(n_steps) + n_steps[0]


@pytest.mark.slow
def test_a_small_run_writes_every_figure_and_keeps_what_it_did_not_measure(tmp_path: Path, prm: str):
    output = tmp_path / "search.json"
    output.write_text('{"quickstart_cpu_seconds": 12.5}')
    sizes = "--problems 2 --rounds 1 --sizes 4 --in_flight 2 --trees 1"
    main([*sizes.split(), "--prm", prm, "--output", str(output)])
    figures = json.loads(output.read_text())
    assert figures["quickstart_cpu_seconds"] == 12.5
    assert figures["prm_tokens_per_tree_token"] == 1.0
    assert figures["prm_tokens"]["largest_score_difference"] < 1e-4
    (runs,) = figures["beam_runs"]["4"]
    ours = ("one_in_flight", "all_in_flight")
    # Both draw 4 steps a round, for as many rounds as the question has operations and an answer
    assert runs["textbook"]["n_steps"] == pytest.approx(runs["one_in_flight"]["n_steps"], rel=0.3)
    assert all(runs[name]["n_prm"] < runs["textbook"]["n_prm"] / 4 for name in ours)
    for clock in ("wall", "cpu"):
        assert figures[f"beam_{clock}_ratio"]["4"] > 0
        assert figures[f"beam_{clock}_ratio_one_in_flight"]["4"] > 0
    (seconds,) = figures["best_of_n_runs"]
    assert 0 < seconds["scorer_forward"] < seconds["scored"]
    assert figures["sampling_ratio_64_per_prompt"] > 0
