"""What a seed of the reproduction runs."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reproduce.jobs import Job
from benchmarks.reproduce.measure_search import LOOKAHEADS, budgets_of_lookahead
from benchmarks.reproduce.plan import SIZES, ReproduceConfig, jobs, n_more_problems
from data_gen.label import LabelConfig
from data_gen.rows.settings import BuildConfig
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.parse import parse_config
from prm_train.allocation.compare_sizes import CompareSizesConfig
from prm_train.estimate_difficulty import EstimateDifficultyConfig
from prm_train.search.settings import SearchConfig
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig, TrainRevisionConfig

CONFIGS: dict[str, type[Any]] = {
    "data_gen.sample": SampleConfig,
    "data_gen.label": LabelConfig,
    "data_gen.build": BuildConfig,
    "prm_train.train_prm": TrainPrmConfig,
    "prm_train.train_orm": TrainOrmConfig,
    "prm_train.train_revision": TrainRevisionConfig,
    "prm_train.search.run": SearchConfig,
    "prm_train.estimate_difficulty": EstimateDifficultyConfig,
    "prm_train.allocation.compare_sizes": CompareSizesConfig,
}


@pytest.fixture
def config(tmp_path: Path) -> ReproduceConfig:
    """Of a run whose PRM took 7 tokens for each one of its solutions."""
    for shard, (sampled, labeled) in enumerate(((100, 500), (100, 700))):
        folder = tmp_path / "search" / f"train-{shard}"
        folder.mkdir(parents=True)
        (folder / "sample.json").write_text(f'{{"n_generated": {sampled}}}')
        (folder / "label.json").write_text(f'{{"n_generated": {labeled}}}')
    return ReproduceConfig(tmp_path, n_train_problems=2000)


def by_name(config: ReproduceConfig) -> dict[str, Job]:
    return {job.name: job for job in jobs(config)}


def test_every_command_is_understood(config: ReproduceConfig):
    for job in jobs(replace(config, large_policy=config.output / "large")):
        module, *arguments = job.arguments()
        assert importlib.util.find_spec(module)
        parse_config(CONFIGS[module], arguments)


def test_the_second_orm_gets_as_many_tokens_as_the_prm(config: ReproduceConfig):
    assert n_more_problems(config) == 14_000  # 1,400 tokens in all, 200 of them of 2,000 problems
    command = by_name(config)["more-sample-1"].arguments()
    assert parse_config(SampleConfig, command[1:]).problems.n == 14_000
    rows = parse_config(TrainOrmConfig, by_name(config)["more-train-orm"].arguments()[1:]).rows
    assert rows == config.output / "search/rows-more/orm.jsonl"


def test_the_second_orm_reads_the_draws_that_are_there(config: ReproduceConfig):
    named = by_name(config)
    first, second = (
        parse_config(SearchConfig, named[name].arguments()[1:])
        for name in ("search-test-1", "more-score-test-1")
    )
    assert second.ledger == first.ledger_path
    assert second.problems == first.problems
    assert (second.policy, second.n_samples) == (first.policy, first.n_samples)
    assert "search-test-1" in named["more-score-test-1"].needs


def test_the_large_policy_answers_the_test_problems_of_the_small_one(config: ReproduceConfig):
    assert not [job for job in jobs(config) if job.name.startswith(("large", "sizes"))]
    named = by_name(replace(config, large_policy=config.output / "large"))
    small, large = (
        parse_config(SearchConfig, named[name].arguments()[1:]) for name in ("search-test-1", "large-1")
    )
    assert large.problems == small.problems
    assert large.policy == replace(small.policy, model=str(config.output / "large"))
    compared = parse_config(CompareSizesConfig, named["sizes"].arguments()[1:])
    assert compared.small == tuple(config.output / f"search/test-{shard}" for shard in range(2))
    assert large.output in compared.large


def test_lookahead_meets_searches_of_its_whole_budget():
    assert budgets_of_lookahead() == [8, 16, 64]
    assert set(budgets_of_lookahead()) <= set(SIZES)
    assert {n for _, sizes in LOOKAHEADS.values() for n in sizes} <= set(SIZES)


def test_revisions_are_taught_to_a_policy_that_is_shipped(config: ReproduceConfig):
    assert all(job.arguments()[0] != "data_gen.pretrain" for job in jobs(config))
