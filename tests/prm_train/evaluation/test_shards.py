"""Which finished searches make a report together, and what is said of those that do not."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, run_command
from prm_train.evaluation.evaluate import main
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.shards import check_chosen_for, read_search
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.results import Cost, Difficulty, ProblemResult, Scoring, StrategyRun
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate

MODELS = {"policy": "p1", "prm": "s1"}
CONFIG = SearchConfig(
    Path("unused"),
    ProblemSource(n=6),
    PolicyConfig(),
    prm="prm",
    n_samples=2,
    strategies=("beam",),
    sizes=(2,),
)
FACTS = {
    "n_problems": 6,
    "n_generated": 10,
    "n_prefilled": 5,
    "n_cached": 0,
    "seconds": 1.0,
}


def result(name: str, config: SearchConfig) -> ProblemResult:
    """Of the samples the second one is right."""
    candidates = tuple(
        Candidate(
            name,
            i,
            f"a\nAnswer: {i % 2 + 1}",
            str(i % 2 + 1),
            i % 2 == 1,
            n_tokens=2,
            scores={"prm": (0.5, 0.2 + i % 2 / 2)},
        )
        for i in range(config.n_samples)
    )
    n, drawn, scored = config.n_samples, Usage(10), ScorerUsage(5)
    temperatures = (config.temperature, *config.other_temperatures)
    return ProblemResult(
        Problem(name, f"{name}?", "2"),
        config.temperature,
        (
            StrategyRun("greedy", 1, 0.0, candidates[:1]),
            *(StrategyRun("samples", n, t, candidates, Cost(drawn)) for t in temperatures),
            *(
                StrategyRun(spec, each, 1.0, candidates, Cost(drawn, scored), {"aggregation": "last"})
                for spec, n in config.tree_sizes.items()
                for each in n
            ),
        ),
        (Scoring("prm", config.temperature, n, scored),),
        Difficulty(2, n_correct=1),
        Usage(),
    )


def write_search(
    folder: Path,
    first: int = 0,
    config: SearchConfig = CONFIG,
    models: Mapping[str, str] = MODELS,
    facts: Mapping[str, Any] = FACTS,
) -> Path:
    """A finished search of six problems, numbered from `first`."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dump_config(replace(config, output=folder))))
    (folder / "models.json").write_text(json.dumps(dict(models)))
    (folder / "search.json").write_text(json.dumps(dict(facts)))
    adapter = TypeAdapter(ProblemResult)
    lines = [adapter.dump_json(result(f"p{first + i:02}", config)) + b"\n" for i in range(6)]
    (folder / "results.jsonl").write_bytes(b"".join(lines))
    return folder


def test_shards_of_one_search_are_one_search_wherever_their_models_were(tmp_path: Path) -> None:
    moved = replace(CONFIG, prm="elsewhere/prm", problems=ProblemSource(n=12, offset=6, shard="1/2"))
    search = read_search([write_search(tmp_path / "b", 6, moved), write_search(tmp_path / "a")])
    assert [each.problem.problem_id for each in search.results] == [f"p{i:02}" for i in range(12)]
    with pytest.raises(InputError, match=r"problem p00 is in .* more than once"):
        read_search([tmp_path / "a", tmp_path / "a"])


@pytest.mark.parametrize(
    ("config", "models", "told"),
    [
        (CONFIG, {**MODELS, "prm": "s2"}, "the prm is s1 and s2"),
        (CONFIG, {**MODELS, "policy": "p2"}, "the policy is p1 and p2"),
        (CONFIG, {**MODELS, "orm": "o1"}, "the orm is none and o1"),
        (replace(CONFIG, n_samples=4), MODELS, "n_samples is 2, got 4"),
        (replace(CONFIG, max_new_tokens=99), MODELS, "max_new_tokens is 256, got 99"),
        (replace(CONFIG, max_steps=2), MODELS, "max_steps is 40, got 2"),
        (replace(CONFIG, problems=ProblemSource(n=6, seed=1)), MODELS, r"problems\.seed is 0, got 1"),
        (replace(CONFIG, policy=PolicyConfig(base_seed=1)), MODELS, r"policy\.base_seed is 0, got 1"),
    ],
)
def test_shards_of_different_searches_are_refused(
    tmp_path: Path, config: SearchConfig, models: dict[str, str], told: str
) -> None:
    one, other = write_search(tmp_path / "one"), write_search(tmp_path / "other", 6, config, models)
    with pytest.raises(InputError, match=f"^{one} and {other}: {told}; expected shards of one search$"):
        read_search([one, other])


def test_a_validation_may_try_more_than_the_test_uses_and_need_not_search_by_beam(tmp_path: Path) -> None:
    wider = replace(
        CONFIG,
        n_samples=4,
        other_temperatures=(0.5,),
        strategies=(),
        n_difficulty_draws=0,
        policy=PolicyConfig(base_seed=7),
    )
    validation = read_search([write_search(tmp_path / "validation", 6, wider, {**MODELS, "orm": "o1"})])
    check_chosen_for(validation, read_search([write_search(tmp_path / "test")]))
    others = replace(CONFIG, strategies=("dvts", "particle_filter:exponent=0.5"), sizes=(2, 4))
    check_chosen_for(validation, read_search([write_search(tmp_path / "others", config=others)]))


@pytest.mark.parametrize(
    ("config", "models", "told"),
    [
        (CONFIG, {**MODELS, "policy": "p2"}, "the policy is p2 and p1"),
        (CONFIG, {"policy": "p1"}, "the prm is none and s1"),
        (replace(CONFIG, temperature=0.7), MODELS, r"temperature is 0\.7, got 1\.0"),
        (replace(CONFIG, n_samples=1), MODELS, "n_samples is 1 and 2"),
        (
            replace(CONFIG, baselines=("chunk_likelihood",)),
            MODELS,
            r"baselines is \['chunk_likelihood'\], got \[\]",
        ),
    ],
)
def test_settings_chosen_for_another_search_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    config: SearchConfig,
    models: dict[str, str],
    told: str,
) -> None:
    validation, test = (
        write_search(tmp_path / "validation", 6, config, models),
        write_search(tmp_path / "test"),
    )
    with pytest.raises(InputError, match=f"^validation {validation} and test {test}: {told}; expected "):
        check_chosen_for(read_search([validation]), read_search([test]))
    with pytest.raises(SystemExit) as end:
        run_command(lambda: evaluate(tmp_path), "evaluate")
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def evaluate(folder: Path, *others: str) -> None:
    main(
        [
            "--validation",
            str(folder / "validation"),
            "--test",
            str(folder / "test"),
            "--output",
            str(folder / "report"),
            *others,
        ]
    )


def test_a_problem_that_failed_is_solved_by_no_method_and_costs_nothing(tmp_path: Path) -> None:
    write_search(tmp_path / "validation", 6)
    lines = (write_search(tmp_path / "test") / "results.jsonl").read_text().splitlines(keepends=True)
    failed = replace(result("p03", CONFIG), runs=(), scorings=(), difficulty=Difficulty(0, 0), failure="odd")
    lines[3] = TypeAdapter(ProblemResult).dump_json(failed).decode() + "\n"
    (tmp_path / "test" / "results.jsonl").write_text("".join(lines))
    evaluate(tmp_path)
    report = SearchReport.read(tmp_path / "report" / "report.json")
    for method in ("pass_at_n", "prm_weighted", "beam"):  # the right sample has the higher score
        assert report.accuracy[method][2].mean == pytest.approx(5 / 6)
    assert report.tokens["beam"][2].n_generated == 10  # of those that were searched
    assert report.tokens["pass_at_n"][2].n_generated == 2 * 2
    assert report.notes[0] == (
        "test: 1 of 6 problems failed, first p03: odd. No method has solved them; costs are those of the "
        "others."
    )
    assert report.verifiers[0].note == "5 of 6 problems have right and wrong samples"


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "test" / name).unlink()


def with_facts(**facts: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "test" / "search.json").write_text(json.dumps({**FACTS, **facts}))


def with_config(config: SearchConfig) -> Callable[[Path], object]:
    return lambda folder: (folder / "test" / "config.json").write_text(json.dumps(dump_config(config)))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("search.json"), r"test: no finished search there: it holds no search\.json"),
        (without("models.json"), r"test: no finished search there: it holds no models\.json"),
        (without("config.json"), r"test: no finished search there: it holds no config\.json"),
        (without("results.jsonl"), r"results\.jsonl: 0 problems, 6 in search\.json"),
        (with_facts(n_problems=7), r"results\.jsonl: 6 problems, 7 in search\.json"),
        (
            lambda folder: (folder / "test" / "search.json").write_text('{"n_problems": 6}'),
            "no n_generated",
        ),
        (lambda folder: (folder / "test" / "models.json").write_text("["), r"models\.json: is damaged"),
        (
            with_config(replace(CONFIG, strategies=())),
            r"searches beam N = \[2\]; expected what config\.json says",
        ),
        (
            with_config(replace(CONFIG, strategies=("beam", "dvts"))),
            r"searches beam N = \[2\]; expected what config\.json says",
        ),
    ],
)
def test_a_folder_that_is_not_what_a_search_leaves_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    write_search(tmp_path / "validation", 6)
    write_search(tmp_path / "test")
    damage(tmp_path)
    with pytest.raises(InputError, match=told):
        evaluate(tmp_path)


@pytest.mark.parametrize("setting", ["labeled", "prm", "stages"])
def test_folders_of_other_commands_that_lack_their_files_are_refused(tmp_path: Path, setting: str) -> None:
    write_search(tmp_path / "validation", 6)
    write_search(tmp_path / "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no such file"):
        evaluate(tmp_path, f"--{setting}", str(tmp_path / "empty"))
