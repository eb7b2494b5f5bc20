"""What a seed of the RL benchmark runs."""

from pathlib import Path
from typing import Any

from benchmarks.rl.plan import ARMS, SEARCHED, RlConfig, jobs
from data_gen.rows.settings import BuildConfig
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.parse import parse_config
from prm_train.rl.settings import GrpoConfig
from prm_train.search.settings import SearchConfig
from prm_train.training.config import TrainPolicyConfig

CONFIGS: dict[str, type[Any]] = {
    "data_gen.sample": SampleConfig,
    "data_gen.build": BuildConfig,
    "prm_train.train_policy": TrainPolicyConfig,
    "prm_train.grpo": GrpoConfig,
    "prm_train.search.run": SearchConfig,
}


def parsed(tmp_path: Path) -> dict[str, Any]:
    found = {}
    for job in jobs(RlConfig(tmp_path, Path("verifiers"), seed=3)):
        module, *arguments = job.arguments()
        found[job.name] = parse_config(CONFIGS[module], arguments)
    return found


def test_arms_differ_in_their_rewards_and_the_policy_at_the_start_alone(tmp_path: Path) -> None:
    configs = parsed(tmp_path)
    rewards = ("output", "model", "orm", "orm_weight", "prm", "credit", "outcome_weight")
    kept = [
        {name: value for name, value in vars(configs[arm]).items() if name not in rewards} for arm in ARMS
    ]
    assert all(each == kept[0] for each in kept)
    assert len({str({name: vars(configs[arm])[name] for name in rewards}) for arm in ARMS}) == len(ARMS)
    assert configs["hacked_sum"].outcome_weight == configs["min_alone"].outcome_weight == 0
    assert {configs[arm].model for arm in ARMS if arm != "cold_start"} == {"base"}


def test_what_a_job_reads_another_wrote_before_it(tmp_path: Path) -> None:
    configs, written = parsed(tmp_path), {"base"}
    for name, config in configs.items():
        model = config.policy.model if isinstance(config, SampleConfig | SearchConfig) else None
        model = config.model if isinstance(config, GrpoConfig | TrainPolicyConfig) else model
        assert model is None or model in written, name
        written.add(str(config.output))
    # Training, validation and test problems of a seed share no question
    splits = {config.problems.split for config in configs.values() if isinstance(config, SearchConfig)}
    assert splits == {"test"}
    assert {configs[arm].validation.split for arm in ARMS} == {"validation"}
    assert {configs[arm].problems.split for arm in ARMS} == {"train"}
    assert {f"search-{arm}" for arm in SEARCHED} < set(configs)
