"""What a seed of the reproduction runs: commands of the project, in two halves (docs/reproduce_analysis.md).

search      the quickstart's training; a second ORM on as many tokens as the PRM took; searches of validation
            and test problems; the second ORM's scores of the same draws; estimates of difficulty
revisions   `benchmarks.revisions`, with a policy that does not revise by itself
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.reproduce.jobs import N_PROCESSES, Command, Job
from benchmarks.revisions import RunConfig, commands
from data_gen.files.stored_record import StoredRecord
from prm_train.evaluation.stages import Split
from prm_train.quickstart import (
    QuickstartConfig,
    Stage,
    problem_arguments,
    search_folders,
    training_stages,
)
from prm_train.quickstart import search_stage as quickstart_search

SIZES = (4, 8, 16, 64)  # of searches in a tree
TREES = (
    *("particle_filter", "particle_filter:resampling=split", "particle_filter:exponent=0.5"),
    *("beam", "beam:survivors=sampled", "dvts", "lookahead", "lookahead:lookahead=3"),
)
TEMPERATURES = (0.5, 1.0)
SPLITS: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class ReproduceConfig:
    """One seed of the reproduction."""

    output: Path = field(metadata={"help": "folder for everything that is made"})
    seed: int = field(default=11, metadata={"help": "seed of problems, draws and trainings"})
    n_train_problems: int = field(default=2000, metadata={"help": "problems that the PRM is trained on"})
    n_validation_problems: int = field(default=150, metadata={"help": "problems that settings are chosen on"})
    n_test_problems: int = field(default=500, metadata={"help": "problems of the findings on search"})
    n_epochs: float = field(default=6.0, metadata={"help": "epochs of the PRM and of the first ORM"})
    n_epochs_more: float = field(default=1.0, metadata={"help": "epochs of the second ORM"})
    revision_policy: str = field(
        default="single_attempt", metadata={"help": "policy that revisions are taught to, as for revisions"}
    )
    large_policy: Path | None = field(
        default=None,
        metadata={
            "is_execution": True,
            "help": "folder of a policy of about 14 times the parameters, with its pretraining.json; null: "
            "F6 is not run. A finished run takes it, too",
        },
    )
    n_revision_problems: int = field(
        default=1000, metadata={"help": "problems that the revision model is trained on"}
    )
    n_revision_test_problems: int = field(
        default=300, metadata={"help": "problems of the findings on revisions"}
    )

    @property
    def search(self) -> QuickstartConfig:
        return QuickstartConfig(
            self.output / "search",
            seed=self.seed,
            n_train_problems=self.n_train_problems,
            n_validation_problems=self.n_validation_problems,
            n_test_problems=self.n_test_problems,
            n_epochs=self.n_epochs,
            strategies=TREES,
            sizes=SIZES,
            temperatures=TEMPERATURES,
            n_processes=N_PROCESSES,
        )

    @property
    def revisions(self) -> RunConfig:
        return RunConfig(
            self.output / "revisions",
            seed=self.seed,
            policy=self.revision_policy,
            n_train_problems=self.n_revision_problems,
            n_test_problems=self.n_revision_test_problems,
        )

    @property
    def stages(self) -> Path:
        return self.output / "stages"

    def small(self) -> "ReproduceConfig":
        """To try the command: few problems, whose figures say nothing."""
        return replace(
            self,
            n_train_problems=60,
            n_validation_problems=8,
            n_test_problems=10,
            n_epochs=1.0,
            n_revision_problems=20,
            n_revision_test_problems=10,
        )


@dataclass(frozen=True)
class Generated(StoredRecord):
    """The part of sample.json and label.json that says how many tokens were drawn."""

    WRITTEN_BY = "`prm-train sample` or `prm-train label`"

    n_generated: int


def jobs(config: ReproduceConfig) -> list[Job]:
    """In the order in which they begin: the halves share no file."""
    return [*revision_jobs(config), *training_jobs(config), *more_orm_jobs(config), *search_jobs(config)]


def joined(folders: Sequence[Path]) -> str:
    return ",".join(map(str, folders))


def revision_jobs(config: ReproduceConfig) -> list[Job]:
    """Each after the one before it, but the two trainings side by side. What makes the policy is left out."""
    pretrain, *rest = [command for _, command in commands(config.revisions)]
    assert pretrain[0] == "data_gen.pretrain"
    names = ("sample", "build", "train_revision", "train_orm", "search")
    needs = ((), ("sample",), ("build",), ("build",), ("train_revision", "train_orm"))
    return [
        Job(f"revisions-{name}", command, tuple(f"revisions-{need}" for need in needed))
        for name, command, needed in zip(names, rest, needs, strict=True)
    ]


def stage_jobs(stage: Stage, needs: Sequence[str] = ()) -> list[Job]:
    names = [f"{stage.words.replace(' ', '-')}-{i}" for i in range(len(stage.commands))]
    return [Job(name, command, tuple(needs)) for name, command in zip(names, stage.commands, strict=True)]


def training_jobs(config: ReproduceConfig) -> list[Job]:
    """Of the PRM and of the first ORM, which sees the same solutions: the quickstart's."""
    found: list[Job] = []
    before: list[str] = []
    for stage in training_stages(config.search):
        these = stage_jobs(stage, before)
        found, before = [*found, *these], [job.name for job in these]
    return found


def more_folders(config: ReproduceConfig) -> list[Path]:
    return [config.search.output / f"more-{shard}" for shard in range(N_PROCESSES)]


def n_more_problems(config: ReproduceConfig) -> int:
    """How many problems, each with as many solutions as the PRM's, take as many generated tokens as its
    solutions and the rollouts that label them.
    """
    runs = [config.search.output / f"train-{shard}" for shard in range(N_PROCESSES)]
    sampled, labeled = (
        sum(Generated.read(run / file).n_generated for run in runs) for file in ("sample.json", "label.json")
    )
    return round(config.n_train_problems * (sampled + labeled) / sampled)


def sample_more(config: ReproduceConfig, shard: int) -> Command:
    search = config.search
    return (
        *("data_gen.sample", "--output", str(more_folders(config)[shard])),
        *("--n_samples", str(search.n_solutions)),
        *problem_arguments(search, "train", n_more_problems(config), shard),
    )


def more_orm_jobs(config: ReproduceConfig) -> list[Job]:
    """A second ORM, on as many tokens as the PRM took."""
    search = config.search
    rows = search.output / "rows-more"
    labels = tuple(f"label-{shard}" for shard in range(N_PROCESSES))
    samples = [
        Job(f"more-sample-{shard}", partial(sample_more, config, shard), labels)
        for shard in range(N_PROCESSES)
    ]
    build = ("--runs", joined(more_folders(config)), "--output", str(rows), "--kinds", "orm")
    first_orm = training_stages(search)[-1].commands[1]
    others = {"--rows": str(rows / "orm.jsonl"), "--output": str(search.output / "orm-more")}
    train = with_options(first_orm, {**others, "--n_epochs": str(config.n_epochs_more)})
    return [
        *samples,
        Job("more-build", ("data_gen.build", *build), tuple(job.name for job in samples)),
        Job("more-train-orm", train, ("more-build",)),
    ]


def with_options(command: Command, others: dict[str, str]) -> Command:
    """With other values of options that it has."""
    found = list(command)
    for name, value in others.items():
        found[found.index(name) + 1] = value
    return tuple(found)


def scored_folders(config: ReproduceConfig, split: Split) -> list[Path]:
    """Of the second ORM's scores."""
    return [config.search.output / f"{split}-more-{shard}" for shard in range(N_PROCESSES)]


def search_jobs(config: ReproduceConfig) -> list[Job]:
    found: list[Job] = []
    for split in SPLITS:
        searches = stage_jobs(search_stage(config, split), ("train-0", "train-1"))
        found += [*searches, *score_jobs(config, split, searches)]
    folders = {split: joined(search_folders(config.search, split)) for split in SPLITS}
    options = ("--validation", folders["validation"], "--test", folders["test"])
    samples = joined([config.search.output / f"train-{shard}" for shard in range(N_PROCESSES)])
    difficulty = ("--output", str(config.search.output / "difficulty"), "--samples", samples)
    needs = tuple(f"search-{split}-{shard}" for split in SPLITS for shard in range(N_PROCESSES))
    found.append(Job("difficulty", ("prm_train.estimate_difficulty", *options, *difficulty), needs))
    return [*found, *large_jobs(config, options)] if config.large_policy else found


def sizes_folder(config: ReproduceConfig) -> Path:
    """Of the comparison with the large policy."""
    return config.search.output / "sizes"


def large_jobs(config: ReproduceConfig, options: Command) -> list[Job]:
    """Single answers of a large policy to the test problems; `options` are the searches of the small one."""
    found = []
    folders = [config.search.output / f"large-{shard}" for shard in range(N_PROCESSES)]
    for shard, folder in enumerate(folders):
        problems = problem_arguments(config.search, "test", config.n_test_problems, shard)
        command = ("prm_train.search.run", "--output", str(folder), "--n_samples", "4", *problems)
        found.append(
            Job(f"large-{shard}", with_options(command, {"--policy.model": str(config.large_policy)}))
        )
    options = tuple({"--test": "--small"}.get(each, each) for each in options)
    compare = (*options, "--large", joined(folders), "--difficulty", str(config.search.output / "difficulty"))
    needs = ("difficulty", *(job.name for job in found))
    compare = ("prm_train.allocation.compare_sizes", *compare, "--output", str(sizes_folder(config)))
    return [*found, Job("sizes", compare, needs)]


def search_stage(config: ReproduceConfig, split: Split) -> Stage:
    """Everything on the problems of a split, by the PRM and the first ORM."""
    search = config.search
    n = {"validation": search.n_validation_problems, "test": search.n_test_problems}[split]
    return quickstart_search(search, split, n, TEMPERATURES, TREES, "prod")


def score_jobs(config: ReproduceConfig, split: Split, searches: Sequence[Job]) -> list[Job]:
    """The second ORM reads the samples of the searches from their ledgers: nothing is drawn for it."""
    search = config.search
    n = {"validation": search.n_validation_problems, "test": search.n_test_problems}[split]
    found = []
    for shard, (folder, scored) in enumerate(
        zip(search_folders(search, split), scored_folders(config, split), strict=True)
    ):
        command = (
            *("prm_train.search.run", "--output", str(scored), "--orm", str(search.output / "orm-more")),
            *("--n_samples", str(search.n_samples), "--ledger", str(folder / "ledger.sqlite")),
            *problem_arguments(search, split, n, shard),
        )
        found.append(Job(f"more-score-{split}-{shard}", command, (searches[shard].name, "more-train-orm")))
    return found
