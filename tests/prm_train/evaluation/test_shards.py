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
from prm_train.search.scorer_config import ScorerConfig
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
            logprob_sum=-1.0 - i,
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
        Difficulty(config.n_difficulty_draws, n_correct=min(1, config.n_difficulty_draws)),
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
    config = replace(config, output=folder, orm="orm" if "orm" in models else None)
    (folder / "config.json").write_text(json.dumps(dump_config(config)))
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
        (
            replace(CONFIG, policy=PolicyConfig(system_prompt="Think.")),
            MODELS,
            r"policy\.system_prompt is None, got 'Think\.'",
        ),
        (
            replace(CONFIG, scorer=ScorerConfig(dtype="bfloat16")),
            MODELS,
            r"scorer\.dtype is None, got 'bfloat16'",
        ),
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
        (replace(CONFIG, prm=None, strategies=()), {"policy": "p1"}, "the prm is none and s1"),
        (replace(CONFIG, temperature=0.7), MODELS, r"temperature is 0\.7, got 1\.0"),
        (replace(CONFIG, n_samples=1), MODELS, "n_samples is 1 and 2"),
        (
            replace(CONFIG, policy=PolicyConfig(prompt_template="Q: {question}")),
            MODELS,
            r"policy\.prompt_template is 'Q: \{question\}', got '\{question\}'",
        ),
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


def with_result(change: Callable[[ProblemResult], ProblemResult]) -> Callable[[Path], object]:
    """The second problem of the test is another."""

    def damage(folder: Path) -> None:
        path, adapter = folder / "test" / "results.jsonl", TypeAdapter(ProblemResult)
        lines = path.read_bytes().splitlines(keepends=True)
        lines[1] = adapter.dump_json(change(adapter.validate_json(lines[1]))) + b"\n"
        path.write_bytes(b"".join(lines))

    return damage


def with_candidates(**values: Any) -> Callable[[Path], object]:
    """Of the second problem, those that are not greedy."""

    def change(found: ProblemResult) -> ProblemResult:
        greedy, *runs = found.runs
        others = [
            replace(run, candidates=tuple(replace(each, **values) for each in run.candidates)) for run in runs
        ]
        return replace(found, runs=(greedy, *others))

    return with_result(change)


def replace_text(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def without_aggregation(found: ProblemResult) -> ProblemResult:
    return replace(found, runs=tuple(replace(run, settings={}) for run in found.runs))


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
            lambda folder: (folder / "test" / "models.json").write_text("{}"),
            r"models\.json: got the ids of no model; expected those of policy, prm, which config\.json names",
        ),
        (
            lambda folder: (folder / "test" / "models.json").write_text('{"policy": "p1"}'),
            r"models\.json: got the ids of policy; expected those of policy, prm",
        ),
        (
            with_result(lambda found: replace(found, runs=found.runs[1:])),
            "problem p01 has 0 greedy solutions; expected 1",
        ),
        (
            with_result(lambda found: replace(found, temperature=0.5)),
            r"problem p01 has scores at T = 0\.5; expected T = 1\.0",
        ),
        (
            with_result(lambda found: replace(found, difficulty=Difficulty(32, 33))),
            "problem p01 has 33 right of 32 draws for its difficulty",
        ),
        (with_result(without_aggregation), "p01 has no aggregation among the settings of beam"),
        (
            with_candidates(n_tokens=0),
            r"p01 has a text of 0 tokens; .* \(candidate 0 of samples at T = 1\)",
        ),
        (
            lambda folder: replace_text(folder / "test" / "results.jsonl", ":-1.0,", ":-Infinity,"),
            "p00 has logprob_sum -inf; expected a finite",
        ),
        (with_candidates(scores={"prm": (0.5, 1.5)}), r"p01 has scores \[0\.5, 1\.5\] of prm"),
        (with_candidates(scores={"prm": (0.5,)}), "p01 has 1 PRM scores for 2 steps; expected one a step"),
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


def change_candidates(folder: Path, **values: Any) -> None:
    """Those of all problems."""
    path, adapter = folder / "results.jsonl", TypeAdapter(ProblemResult)
    lines = []
    for found in map(adapter.validate_json, path.read_bytes().splitlines()):
        runs = [
            replace(run, candidates=tuple(replace(each, **values) for each in run.candidates))
            for run in found.runs
        ]
        lines.append(adapter.dump_json(replace(found, runs=tuple(runs))) + b"\n")
    path.write_bytes(b"".join(lines))


def test_samples_without_logprobs_are_not_selected_by_them(tmp_path: Path) -> None:
    """As those of a simulated policy are, which says 0 for every token."""
    write_search(tmp_path / "validation", 6)
    change_candidates(write_search(tmp_path / "test"), logprob_sum=0.0)
    with pytest.raises(
        InputError, match=r"^validation has log-probabilities of its samples and test has none"
    ):
        evaluate(tmp_path)
    change_candidates(tmp_path / "validation", logprob_sum=0.0)
    evaluate(tmp_path)
    report = SearchReport.read(tmp_path / "report" / "report.json")
    assert "logprob" not in report.accuracy
    assert [row.name for row in report.verifiers] == ["PRM"]
    assert any("no log-probabilities" in note for note in report.notes)


def test_without_draws_for_difficulty_there_are_no_quintiles(tmp_path: Path) -> None:
    for folder, first in (("validation", 6), ("test", 0)):
        write_search(tmp_path / folder, first, replace(CONFIG, n_difficulty_draws=0))
    evaluate(tmp_path)
    report = SearchReport.read(tmp_path / "report" / "report.json")
    assert (report.accuracy_by_quintile, report.pass_at_1_by_quintile) == ({}, ())
    assert {pair.problems for pair in report.paired} <= {"all test problems"}
    assert any("n_difficulty_draws" in note for note in report.notes)


def test_problems_that_are_all_right_leave_nothing_to_rank(tmp_path: Path) -> None:
    change_candidates(write_search(tmp_path / "validation", 6), is_correct=True)
    change_candidates(write_search(tmp_path / "test"), is_correct=True)
    evaluate(tmp_path)
    report = SearchReport.read(tmp_path / "report" / "report.json")
    assert report.verifiers == ()
    most = report.accuracy["majority"][2]
    assert (most.mean, most.high) == (1.0, 1.0)
    assert most.low == pytest.approx(6 / (6 + 3.8415), abs=1e-4)  # Wilson's interval of 6 of 6


@pytest.mark.parametrize("setting", ["labeled", "prm", "stages"])
def test_folders_of_other_commands_that_lack_their_files_are_refused(tmp_path: Path, setting: str) -> None:
    write_search(tmp_path / "validation", 6)
    write_search(tmp_path / "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no such file"):
        evaluate(tmp_path, f"--{setting}", str(tmp_path / "empty"))


def test_a_report_says_at_its_head_which_models_code_day_and_command_made_it(tmp_path: Path) -> None:
    write_search(tmp_path / "validation", 6)
    write_search(tmp_path / "test")
    evaluate(tmp_path, "--figures", str(tmp_path / "figures"))
    run = SearchReport.read(tmp_path / "report" / "report.json").run
    folders = " ".join(
        f"--{name} {tmp_path / folder}"
        for name, folder in (
            ("validation", "validation"),
            ("test", "test"),
            ("output", "report"),
            ("figures", "figures"),
        )
    )
    command = f"prm-train evaluate {folders}"
    assert run.command == command
    assert run.models == MODELS
    assert run.searches == {"validation": ("../validation",), "test": ("../test",)}
    head = (tmp_path / "report" / "report.html").read_text().partition("</header>")[0]
    for told in ("policy <code>p1</code>", "prm <code>s1</code>", run.code, run.date, command):
        assert told in head
    assert "PRM weighted,2,1.0," in (tmp_path / "figures" / "accuracy.csv").read_text()
