"""What `import prm_train` gives a notebook."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import prm_train
from prm_train.scoring.protocol import Scorer, ScorerUsage


class LengthTree:
    """Scores a path by the characters of its steps, one hundredth each."""

    root = ""

    def __init__(self) -> None:
        self.usage = ScorerUsage()

    def extend(self, parent: str, step: str) -> str:
        return parent + step

    async def score(self, node: str) -> float:
        await asyncio.sleep(0)
        return len(node) / 100


class LengthScorer:
    scorer_id, aggregation = "length", "last"

    def __init__(self, scores_steps: bool) -> None:
        self.scores_steps = scores_steps

    def session(self, question: str) -> "LengthScorer":
        return self

    async def __aenter__(self) -> LengthTree:
        return LengthTree()

    async def __aexit__(self, *error: object) -> None: ...


def length_scorer(scores_steps: bool) -> Scorer:
    return LengthScorer(scores_steps)  # type: ignore[return-value]


def test_score_gives_one_score_a_step_or_one_for_a_whole_solution() -> None:
    assert prm_train.score("q", ["four", "seven..", "x"], length_scorer(scores_steps=True)) == [
        0.04,
        0.11,
        0.12,
    ]
    assert prm_train.score("q", ["four", "seven..", "x"], length_scorer(scores_steps=False)) == [0.12]


def test_score_works_while_the_event_loop_of_a_notebook_is_running() -> None:
    async def cell() -> list[float]:
        return prm_train.score("q", ["four"], length_scorer(scores_steps=True))

    assert asyncio.run(cell()) == [0.04]


@pytest.mark.parametrize("steps", [[], "one text"])
def test_score_wants_a_list_of_steps(steps: list[str]) -> None:
    with pytest.raises(ValueError, match="expected a list of the solution's steps"):
        prm_train.score("q", steps, length_scorer(scores_steps=True))


def test_a_policy_is_loaded_by_name_with_the_settings_of_its_config() -> None:
    policy = prm_train.load_policy("simulated", base_seed=3)
    assert policy.base_seed == 3
    draw = asyncio.run(
        policy.sample(policy.encode_prompt("Start with 3: plus 4."), prm_train.SamplingParams(64), 0)
    )
    assert draw.finish_reason == prm_train.FinishReason.EOS


def test_every_public_name_is_there_and_others_are_refused() -> None:
    assert all(hasattr(prm_train, name) for name in prm_train.__all__)
    assert prm_train.__version__ == version("prm-train")
    with pytest.raises(AttributeError, match="no public name 'load_model'"):
        _ = prm_train.load_model


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import prm_train, sys; sys.exit(sorted({'torch', 'transformers', 'numpy', 'yaml', 'asyncio'} & "
        "set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_types_are_published() -> None:
    assert all(
        (Path(prm_train.__file__).parents[1] / package / "py.typed").is_file()
        for package in ("data_gen", "prm_train")
    )
