"""The command `search`: whose its folder is, and which scorers it takes."""

import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from data_gen.ledger.statistics import ledger_statistics
from data_gen.ledger.verification import find_faults
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.settings.errors import InputError
from prm_train.evaluation.shards import read_search
from prm_train.evaluation.tree_methods import tree_methods
from prm_train.kinds.load import load_checkpoint
from prm_train.search.results import ProblemResult, read_results
from prm_train.search.run import main
from tests.pooling_server import serve


def search(folder: Path, *arguments: str) -> dict:
    small = (
        "--problems.n",
        "2",
        "--policy.model",
        "simulated",
        "--n_samples",
        "2",
        "--n_difficulty_draws",
        "1",
    )
    main(["--output", str(folder), *small, *arguments])
    found: dict = json.loads((folder / "search.json").read_text())
    return found


def results_in_order(folder: Path) -> list[ProblemResult]:
    """By problem: the file has them as they were finished."""
    return sorted(read_results(folder / "results.jsonl"), key=lambda result: result.problem.problem_id)


def test_a_prm_and_an_orm_are_not_taken_for_each_other(
    tmp_path: Path, random_scorers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        InputError, match=r"prm .*: an ORM, which scores whole solutions; expected a PRM \(--orm\)"
    ):
        search(tmp_path / "run", "--prm", random_scorers["orm"])
    with pytest.raises(InputError, match=r"orm .*: a PRM, which scores steps; expected an ORM \(--prm\)"):
        search(tmp_path / "run", "--orm", random_scorers["prm"])
    assert list(tmp_path.iterdir()) == []  # a start that failed leaves nothing
    with caplog.at_level(logging.INFO):
        facts = search(
            tmp_path / "run",
            "--prm",
            random_scorers["prm"],
            "--orm",
            random_scorers["orm"],
            "--max_new_tokens",
            "40",
        )
    assert facts["n_problems"] == 2
    for name in ("prm", "orm"):  # one line each
        said = [line for line in caplog.messages if random_scorers[name] in line]
        assert said == [f"{name.upper()} {random_scorers[name]}: 0.0 M parameters, float32, cpu"]


def test_a_search_goes_on_with_other_settings_of_execution_and_no_others(tmp_path: Path) -> None:
    first = search(tmp_path)
    results = (tmp_path / "results.jsonl").read_bytes()
    others = (
        "--policy.max_rows",
        "3",
        "--policy.prefix_cache_bytes",
        "1000",
        "--scorer.device",
        "cpu",
        "--scorer.cache_bytes",
        "0",
        "--scorer.max_batch_tokens",
        "64",
    )
    assert search(tmp_path, *others)["n_generated"] == first["n_generated"]
    assert (tmp_path / "results.jsonl").read_bytes() == results
    with pytest.raises(InputError, match=r"another configuration: policy\.base_seed is 0, got 1; choose"):
        search(tmp_path, "--policy.base_seed", "1")
    for name, value, shown in (
        ("scorer.dtype", "bfloat16", "None, got 'bfloat16'"),
        ("stop", "Q:", r"\[\], got \['Q:'\]"),
    ):
        with pytest.raises(InputError, match=rf"another configuration: {name} is {shown}; choose"):
            search(tmp_path, f"--{name}", value)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "problems": {**config["problems"], "seed": 1}})
    )
    with pytest.raises(
        InputError, match=r"results.jsonl:1: the problems have changed since this search began"
    ):
        search(tmp_path, "--problems.seed", "1")


def test_searches_that_share_a_ledger_count_each_its_own_draws(tmp_path: Path) -> None:
    alone = search(tmp_path / "alone", "--n_samples", "3")
    shared = ("--ledger", str(tmp_path / "ledgers" / "all.sqlite"))
    first = search(tmp_path / "first", "--n_samples", "5", *shared)
    second = search(tmp_path / "second", "--n_samples", "3", *shared)
    assert not (tmp_path / "second" / "ledger.sqlite").exists()
    tokens = ("n_generated", "n_prefilled", "n_cached")
    # Of draws that the first one made, too
    assert [second[name] for name in tokens] == [alone[name] for name in tokens]
    assert first["n_generated"] > second["n_generated"]
    assert search(tmp_path / "first", "--n_samples", "5", *shared) == first
    assert results_in_order(tmp_path / "alone") == results_in_order(tmp_path / "second")


def test_seconds_are_those_of_all_processes_of_a_search(tmp_path: Path) -> None:
    search(tmp_path)
    (tmp_path / "seconds.json").write_text('{"seconds": 100.0, "cpu_seconds": 50.0}')
    again = search(tmp_path)  # nothing was left to do
    assert (again["seconds"], again["cpu_seconds"]) == (100.0, 50.0)
    results = tmp_path / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-20])  # killed while it wrote the second problem
    (tmp_path / "seconds.json").write_text('{"seconds": 100.0, "cpu_seconds": 50.0}')
    resumed = search(tmp_path, "--policy.max_rows", "3")
    assert 100.0 <= resumed["seconds"] < 130.0
    assert 50.0 <= resumed["cpu_seconds"] < 80.0
    kept = json.loads((tmp_path / "seconds.json").read_text())
    assert kept["seconds"] == pytest.approx(resumed["seconds"], abs=1.0)


def test_a_search_that_an_earlier_version_began_is_not_continued(tmp_path: Path) -> None:
    search(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    for line in lines:  # its results had costs by names that were put together
        line |= {
            "samples": {"1.0": line.pop("runs")[1]["candidates"]},
            "beams": {},
            "costs": {"samples T=1": line["difficulty"]["cost"]},
        }
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(
        InputError,
        match=r"results\.jsonl:1: an earlier version began this search.* search again into another folder",
    ):
        search(tmp_path)


def test_every_search_in_a_tree_is_recorded_with_its_settings(
    tmp_path: Path, random_scorers: dict[str, str]
) -> None:
    trees = (
        "--strategies",
        "beam,dvts:width=2:reanchor=1,particle_filter:resample_below=0.5:temperature=0.7",
    )
    others = ("--sizes", "2,4", "--max_steps", "30", "--max_new_tokens", "60")
    search(tmp_path, "--prm", random_scorers["prm"], *trees, *others)
    common = {"max_steps": 30, "aggregation": "min"}  # the checkpoint's own way
    for result in read_results(tmp_path / "results.jsonl"):
        assert [(run.spec, run.n, run.temperature, run.settings) for run in result.runs[2:]] == [
            *(("beam", n, 1.0, {"width": 4, "survivors": "best", **common}) for n in (2, 4)),
            *(
                (
                    "dvts:width=2:reanchor=1",
                    n,
                    1.0,
                    {"width": 2, "survivors": "best", "reanchor": 1, **common},
                )
                for n in (2, 4)
            ),
            *(
                (
                    "particle_filter:resample_below=0.5:temperature=0.7",
                    n,
                    0.7,
                    {"exponent": 1.0, "resample_below": 0.5, "resampling": "systematic", **common},
                )
                for n in (2, 4)
            ),
        ]
        assert all(run.cost.policy.n_generated and run.cost.scorer.n_new for run in result.runs[2:])
        assert len(result.runs[-1].candidates) == 4
        assert all(set(each) == {2, 4} for each in result.trees.values())
    named = search(
        tmp_path / "named", "--prm", random_scorers["prm"], *trees, *others, "--aggregation", "prod"
    )
    assert "aggregation" not in named
    (again, _) = read_results(tmp_path / "named" / "results.jsonl")
    assert {run.settings["aggregation"] for run in again.runs[2:]} == {"prod"}


def test_a_search_with_a_served_scorer_finds_what_it_finds_with_that_scorer_in_this_process(
    tmp_path: Path, random_scorers: dict[str, str]
) -> None:
    prm = str(tmp_path / "prm")
    shutil.copytree(random_scorers["prm"], prm)
    weights = load_file(tmp_path / "prm" / "model.safetensors")
    # In other batches scores differ in the last digit, which must not decide between paths: they are far
    # apart, and multiplied, since paths with one beginning often have one minimum
    scaled = {name: 10 * value if name.startswith("score.") else value for name, value in weights.items()}
    assert any(name.startswith("score.") for name in weights)
    save_file(scaled, tmp_path / "prm" / "model.safetensors", metadata={"format": "pt"})
    methods = ("--prm", prm, "--n_samples", "4", "--strategies", "beam:width=2", "--sizes", "4")
    policy = ("--policy.model", "base", "--policy.dtype", "float32", "--max_new_tokens", "100")
    arguments = (*methods, *policy, "--aggregation", "prod")
    search(tmp_path / "here", *arguments)
    with serve(load_checkpoint(prm).model) as server:
        summary = search(tmp_path / "served", *arguments, "--scorer.servers", server.url)
    wanted, found = (results_in_order(tmp_path / name) for name in ("here", "served"))
    for one, other in zip(wanted, found, strict=True):
        assert [run.spec for run in other.runs] == ["greedy", "samples", "beam:width=2"]
        for run, served in zip(one.runs, other.runs, strict=True):
            for own, each in zip(run.candidates, served.candidates, strict=True):
                assert each.scores.get("prm", ()) == pytest.approx(own.scores.get("prm", ()), abs=1e-6)
                same = (
                    "text",
                    "answer",
                    "answer_class",
                    "is_correct",
                    "is_finished",
                    "n_tokens",
                    "multiplicity",
                )
                assert [getattr(each, name) for name in same] == [getattr(own, name) for name in same]
            assert served.cost.policy == run.cost.policy
        assert all(len(each.scores["prm"]) > 1 for each in other.scored)
        # Each path of a server is computed whole, once however many samples take it
        n_tokens = {each.text: each.scorer_tokens["prm"] for each in other.scored}
        assert n_tokens == {each.text: (sum(each.scorer_tokens["prm"]),) for each in one.scored}
        assert other.cost_of_scores("prm").n_new == sum(n for (n,) in n_tokens.values())
        assert other.trees["beam:width=2"][4].cost.scorer.n_rescored > 0
    lengths = server.lengths[2:]  # behind two probes
    assert summary["n_scorer_new"] == sum(lengths) == sum(each.scorer_usage.n_new for each in found)
    assert summary["n_scorer_reused"] == 0


def test_chains_of_revisions_are_recorded_with_what_wrote_and_scored_them(
    tmp_path: Path, random_scorers: dict[str, str]
) -> None:
    specs = ("revisions:n_chains=1", "revisions:n_chains=9:base_first=True", "revisions:verifier=none")
    models = ("--orm", random_scorers["orm"], "--policy.model", "base", "--revision_model", str(BASE_POLICY))
    arguments = ("--sizes", "3", "--strategies", ",".join(specs), "--max_new_tokens", "120", *models)
    search(tmp_path, *arguments, "--n_samples", "3", "--policy.dtype", "float32")
    results = read_results(tmp_path / "results.jsonl")
    for result in results:
        one, wide, unscored = (result.trees[spec][3] for spec in specs)
        common = {"n_shown": 4, "written_by": "revision_model"}
        orm = {"verifier": "orm", "aggregation": "min"}  # the checkpoint's own way
        assert one.settings == {"n_chains": 1, "base_first": False, **orm, **common}
        assert wide.settings == {"n_chains": 9, "base_first": True, **orm, **common}
        none = {"verifier": "none", "aggregation": "last"}
        assert unscored.settings == {"n_chains": 4, "base_first": False, **none, **common}
        assert [(run.scorer, run.writer) for run in (one, unscored)] == [
            ("orm", "revision_model"),
            ("none", "revision_model"),
        ]
        assert [[each.chain for each in run.candidates] for run in (one, wide)] == [[0] * 3, [0, 1, 2]]
        # The base policy's samples, with the scores that they have there
        assert [replace(each, chain=None) for each in wide.candidates] == list(result.scored)
        assert wide.cost.scorer == result.cost_of_scores("orm")
        assert wide.cost.policy == result.cost_of_samples(1.0).policy
        assert all("orm" in each.scores for each in one.candidates)
        assert one.cost.policy.n_prefilled > 3 * wide.cost.policy.n_prefilled  # chats are read anew
        assert not any(each.scores for each in unscored.candidates)
    counts = ledger_statistics(tmp_path / "ledger.sqlite")["policies"]
    (counted,) = counts.values()  # the same weights under two names are one policy
    # One prompt a question, and two chats of the one chain with several attempts
    assert counted["n_prefixes"] == 2 * 3
    assert list(find_faults(tmp_path / "ledger.sqlite")) == []
    assert set(json.loads((tmp_path / "models.json").read_text())) == {"policy", "revision_model", "orm"}
    found = read_search([tmp_path])
    assert list(found.results) == sorted(results, key=lambda each: each.problem.problem_id)
    names = [method.name for method in tree_methods(found.results[0], {})]
    votes = ("", "_hierarchical_best", "_score", "_majority")
    assert names == [*(f"{spec}{vote}" for spec in specs[:2] for vote in votes), specs[2]]
    (majority,) = [each for each in tree_methods(found.results[0], {}) if each.name == specs[2]]
    assert majority.words.endswith("written_by = revision_model, vote by majority")


def test_a_beam_is_revised_by_a_revision_model_and_its_cost_is_that_of_both(
    tmp_path: Path, random_scorers: dict[str, str]
) -> None:
    spec = "beam_revisions:n_revisions=2"
    strategies = ("--strategies", f"beam,{spec}", "--sizes", "4", "--max_new_tokens", "120")
    models = ("--prm", random_scorers["prm"], "--policy.model", "base", "--revision_model", str(BASE_POLICY))
    search(tmp_path, *strategies, *models, "--policy.dtype", "float32")
    for result in read_results(tmp_path / "results.jsonl"):
        beam, revised = (result.trees[name][4] for name in ("beam", spec))
        assert revised.settings == {
            **beam.settings,
            "n_revisions": 2,
            "written_by": "policy and revision_model",
        }
        assert revised.candidates[: len(beam.candidates)] == beam.candidates
        added = revised.candidates[len(beam.candidates) :]
        assert len(added) == 2
        n_more = revised.cost.policy.n_generated - beam.cost.policy.n_generated
        assert n_more >= sum(each.n_tokens for each in added) > 0
        assert revised.cost.scorer.n_new > beam.cost.scorer.n_new
    names = [method.name for method in tree_methods(read_search([tmp_path]).results[0], {})]
    assert names == ["beam", "beam_prior", spec]
    assert list(find_faults(tmp_path / "ledger.sqlite")) == []


def test_revisions_that_cannot_work_are_refused(tmp_path: Path) -> None:
    for arguments, told in (
        (("--strategies", "revisions:n_chains=0"), "n_chains: got 0, expected 1 or more"),
        (("--strategies", "revisions:verifier=orm"), "got revisions:verifier=orm, expected orm to name one"),
        (("--strategies", "revisions:max_steps=3"), "got 'max_steps=3', expected one of "),
        (("--strategies", "beam_revisions"), "got beam_revisions without a PRM, expected prm to name one"),
        (("--strategies", "beam_revisions:n_revisions=-1"), "n_revisions: got -1, expected 0 or more"),
        (
            ("--strategies", "revisions:base_first=true"),
            "got revisions:base_first=True, expected revision_model to name another model than the policy",
        ),
        (("--revision_model", "base"), "revision_model: got base, but no revisions among strategies"),
        (
            ("--strategies", "revisions"),
            "policy simulated-arithmetic-1: SimulatedPolicy reads questions alone; expected one that reads",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            search(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_settings_of_trees_that_cannot_work_are_refused(tmp_path: Path) -> None:
    prm = ("--prm", "unused")
    for arguments, told in (
        (("--strategies", "dvts"), "strategies: got dvts without a PRM, expected prm to name one"),
        (
            (*prm, "--strategies", "dvts", "--sizes", "4,0"),
            r"sizes: got \[4, 0\], expected each to be 1 or more",
        ),
        ((*prm, "--strategies", "dvts,dvts"), "strategies: got dvts, dvts, expected each once"),
        ((*prm, "--strategies", "bem"), "strategy: got 'bem', expected one of particle_filter, "),
        ((*prm, "--strategies", "beam:widht=2"), "strategy 'beam:widht=2': got 'widht=2', expected one of "),
        (
            (*prm, "--strategies", "beam:width=x"),
            "'beam:width=x': width: Input should be a valid int",
        ),
        ((*prm, "--strategies", "beam:width=0"), "width: got 0, expected 1 or more"),
        ((*prm, "--strategies", "beam:temperature=-1"), "temperature: got -1.0, expected 0"),
        ((*prm, "--strategies", "lookahead:lookahead=-1"), "lookahead: got -1, expected 0 or more"),
        ((*prm, "--strategies", "mcts:c_puct=-1"), "c_puct: got -1.0, expected 0 or more"),
        (
            (*prm, "--strategies", "rebase:balance_temperature=0"),
            "balance_temperature: got 0.0, expected 1e-06",
        ),
        ((*prm, "--strategies", "beam:survivors=all"), "survivors: Input should be 'best' or 'sampled'"),
        ((*prm, "--strategies", "particle_filter:exponent=-1"), "exponent: got -1.0, expected 0 or more"),
        (
            (*prm, "--strategies", "particle_filter:resample_below=1.5"),
            "resample_below: got 1.5, expected a share from 0 to 1",
        ),
        ((*prm, "--max_steps", "0"), "max_steps: got 0, expected 1 or more"),
    ):
        with pytest.raises(InputError, match=told):
            search(tmp_path, *arguments)


def test_a_model_must_be_named_for_problems_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"policy\.model: no model for mine\.jsonl"):
        main(["--output", str(tmp_path / "run"), "--problems.source", "mine.jsonl"])
