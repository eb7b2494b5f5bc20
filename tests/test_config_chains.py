"""The chains of commands in configs/README.md: what a line reads, a line above it wrote, and labels are as
the training asks for them.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data_gen.build import main as build
from data_gen.consensus_command import ConsensusConfig
from data_gen.convert import ConvertConfig
from data_gen.grade import GradeConfig
from data_gen.label import LabelConfig
from data_gen.label import main as label
from data_gen.publish_data import PublishDataConfig
from data_gen.rows.layouts import PrmRow, read_rows
from data_gen.rows.settings import BuildConfig
from data_gen.sample import main as sample
from data_gen.sampling.settings import DRY_RUN, SampleConfig
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.evaluation.evaluate import EvaluateConfig
from prm_train.examples.targets import LabelAlgebra, step_targets
from prm_train.kinds.generative_verifier import ALGEBRA
from prm_train.launching.settings import LaunchConfig
from prm_train.publish import PublishConfig
from prm_train.quickstart import QuickstartConfig, search_folders
from prm_train.rl.settings import GrpoConfig
from prm_train.routing.settings import RouteConfig
from prm_train.search.settings import SearchConfig
from prm_train.search.show_tree import ShowTreeConfig
from prm_train.search.solve_questions import SolveConfig
from prm_train.self_correction.settings import TrainScoreConfig
from prm_train.serving.named_models import read_policies, read_scorers
from prm_train.serving.settings import ServeConfig
from prm_train.training.config import (
    TrainImplicitPrmConfig,
    TrainOrmConfig,
    TrainPolicyConfig,
    TrainPrmConfig,
    TrainRevisionConfig,
    TrainVerifierConfig,
)
from prm_train.training.settings import TrainingConfig

ROOT = Path(__file__).parents[1]
CLASSES: dict[str, type[Any]] = {
    "sample": SampleConfig,
    "grade": GradeConfig,
    "label": LabelConfig,
    "consensus": ConsensusConfig,
    "build": BuildConfig,
    "convert": ConvertConfig,
    "quickstart": QuickstartConfig,
    "train-policy": TrainPolicyConfig,
    "train-prm": TrainPrmConfig,
    "train-orm": TrainOrmConfig,
    "train-implicit-prm": TrainImplicitPrmConfig,
    "train-verifier": TrainVerifierConfig,
    "train-revision": TrainRevisionConfig,
    "train-score": TrainScoreConfig,
    "publish": PublishConfig,
    "publish-data": PublishDataConfig,
    "search": SearchConfig,
    "solve": SolveConfig,
    "show-tree": ShowTreeConfig,
    "route": RouteConfig,
    "serve": ServeConfig,
    "evaluate": EvaluateConfig,
    "grpo": GrpoConfig,
    "launch": LaunchConfig,
}
READS = {
    "train-policy": ("orm", "distill"),
    "train-prm": ("prm",),
    "train-orm": ("orm", "orm_pairs", "orm_history"),
    "train-implicit-prm": ("orm",),
    "train-verifier": ("prm",),
    "train-revision": ("revision",),
}
SMALL = (
    "--problems.source",
    "arithmetic",
    "--problems.n",
    "4",
    "--policy.model",
    "simulated",
    "--n_samples",
    "6",
)


class Line(NamedTuple):
    """One command that a chain asks for; `text` for messages."""

    command: str
    arguments: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Rows:
    """A file of training rows: its kind, the separator of its steps, and the `label` arguments of each way to
    get its labels.
    """

    kind: str
    separator: str
    labels: tuple[tuple[str, ...], ...] = ()
    build: tuple[str, ...] = ()


@dataclass
class Written:
    """What the lines of a section have written so far."""

    separators: dict[Path, str] = field(default_factory=dict)  # of the runs
    labels: dict[Path, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    rows: dict[Path, Rows] = field(default_factory=dict)
    models: set[Path] = field(default_factory=set)
    searches: set[Path] = field(default_factory=set)
    answers: set[Path] = field(default_factory=set)
    routers: set[Path] = field(default_factory=set)


def sections() -> list[list[list[Line]]]:
    """For each heading of the README its lines; a line holds the commands that can stand in it."""
    found: list[list[list[Line]]] = []
    is_code = False
    for text in (ROOT / "configs" / "README.md").read_text().splitlines():
        if text.startswith("## "):
            found.append([])
        is_code ^= text == "```"
        if is_code and text.startswith("launch/pipeline.sh "):
            found[-1] += [[line] for line in pipeline(text.split()[1])]
        elif is_code and text.startswith("prm-train "):
            found[-1].append(list(alternatives(text)))
    return found


def alternatives(text: str) -> Iterator[Line]:
    """`prm-train train-prm --config configs/train_prm/lora.yaml # or qlora` is two."""
    shown, _, others = text.partition(" # or ")
    _, command, *arguments = shlex.split(shown)
    yield Line(command, tuple(arguments), shown)
    for name in others.split(", ") if others else ():
        replaced = [
            re.sub(r"[^/]+\.yaml", f"{name}.yaml", word) if word.startswith("configs/") else word
            for word in arguments
        ]
        yield Line(command, tuple(replaced), f"{shown} with {name}")


def pipeline(name: str) -> Iterator[Line]:
    """The lines of launch/pipeline.sh, read from it."""
    script = (ROOT / "launch" / "pipeline.sh").read_text()
    for command, path in re.findall(r'^stage .*?([\w-]+) --config "\$configs/(\S+)"$', script, re.MULTILINE):
        file = path.replace("${name}", name).replace("$name", name)
        yield Line(command, ("--config", f"configs/{file}"), f"pipeline.sh {name}: {command}")


def follow(lines: list[Line], written: Written) -> Iterator[tuple[Rows, LabelAlgebra, str]]:
    """Check and note what the commands of one line read and write; yields the rows of each training on step
    labels.
    """
    labels: dict[Path, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        config = parse_config(CLASSES[line.command], line.arguments)
        if isinstance(config, LabelConfig):
            run = config.run / DRY_RUN if config.dry_run else config.run
            assert run in written.separators, f"{line.text}: nothing has sampled {run}"
            labels[run] = (*labels.get(run, ()), line.arguments)
        elif isinstance(config, TrainingConfig):
            assert config.rows in written.rows, f"{line.text}: nothing has written {config.rows}"
            rows = written.rows[config.rows]
            assert rows.kind in READS[line.command], line.text
            assert rows.separator == config.step_separator, line.text
            assert config.output not in written.models, f"{line.text}: {config.output} holds another training"
            written.models.add(config.output)
            if rows.kind == "prm":
                yield rows, config if isinstance(config, LabelAlgebra) else ALGEBRA, line.text
        else:
            WRITERS[line.command](config, line, written)
    written.labels |= labels


def after_sample(config: SampleConfig, line: Line, written: Written) -> None:
    written.separators[config.output / DRY_RUN if config.dry_run else config.output] = config.step_separator


def after_grade(config: GradeConfig, line: Line, written: Written) -> None:
    written.rows[config.output / "orm.jsonl"] = Rows("orm", "\n")


def after_consensus(config: ConsensusConfig, line: Line, written: Written) -> None:
    written.labels[config.output] = written.labels[config.run]
    written.separators[config.output] = written.separators[config.run]


def after_build(config: BuildConfig, line: Line, written: Written) -> None:
    (run,) = config.runs
    assert run in written.separators, f"{line.text}: nothing has sampled {run}"
    for kind in config.kinds:
        name = f"{kind}-train.jsonl" if config.validation_share else f"{kind}.jsonl"
        labels = written.labels[run] if kind == "prm" else ()
        written.rows[config.output / name] = Rows(kind, written.separators[run], labels, line.arguments)


def after_convert(config: ConvertConfig, line: Line, written: Written) -> None:
    written.rows[config.output] = Rows("prm", "\n\n")


def after_quickstart(config: QuickstartConfig, line: Line, written: Written) -> None:
    written.models |= {config.output / "prm", config.output / "orm"}
    written.rows |= {config.output / "rows" / f"{kind}.jsonl": Rows(kind, "\n") for kind in ("prm", "orm")}
    written.searches |= {path for split in ("validation", "test") for path in search_folders(config, split)}


def after_train_score(config: TrainScoreConfig, line: Line, written: Written) -> None:
    assert config.model == "base" or Path(config.model) in written.models, line.text
    written.models.add(config.output)


def after_publish(config: PublishConfig, line: Line, written: Written) -> None:
    assert config.checkpoint in written.models, line.text
    assert config.rows in written.rows, line.text


def after_publish_data(config: PublishDataConfig, line: Line, written: Written) -> None:
    assert config.rows in {path.parent for path in written.rows}, line.text


def after_search(config: SearchConfig, line: Line, written: Written) -> None:
    models = (config.prm, config.orm, config.revision_model)
    assert {Path(name) for name in models if name} <= written.models, line.text
    written.searches.add(config.output)
    written.separators[config.output] = config.step_separator  # rows to distill are built from it


def after_solve(config: SolveConfig, line: Line, written: Written) -> None:
    assert {Path(name) for name in (config.prm, config.orm) if name} <= written.models, line.text
    assert config.output is not None
    written.answers.add(config.output)


def after_route(config: RouteConfig, line: Line, written: Written) -> None:
    assert {*config.validation, *config.test} <= written.searches, line.text
    written.routers.add(config.output / "router.json")


def after_serve(config: ServeConfig, line: Line, written: Written) -> None:
    scorers = read_scorers(config.scorers).values()
    names = (config.prm, config.orm, *(name for each in scorers for name in (each.prm, each.orm)))
    assert {Path(name) for name in names if name} <= written.models, line.text
    assert config.router is None or config.router in written.routers, line.text
    assert read_policies(config.policies).keys() == config.policies.keys()


def after_show_tree(config: ShowTreeConfig, line: Line, written: Written) -> None:
    assert config.run in written.answers, line.text


def after_launch(config: LaunchConfig, line: Line, written: Written) -> None:
    """As after the command that it divides; what it reads of a folder is in that folder's shards."""
    command, *words = shlex.split(config.command)
    inner = parse_config(CLASSES[command], words)
    if isinstance(inner, LabelConfig):
        assert inner.run in written.separators, line.text
        written.labels[inner.run] = (tuple(words),)
    else:
        WRITERS[command](inner, line, written)


def after_grpo(config: GrpoConfig, line: Line, written: Written) -> None:
    assert {Path(name) for name in (config.prm, config.orm) if name} <= written.models, line.text
    assert config.output not in written.models, line.text
    written.models.add(config.output)


def after_evaluate(config: EvaluateConfig, line: Line, written: Written) -> None:
    assert {*config.validation, *config.test} <= written.searches, line.text
    assert set(config.labeled) <= set(written.labels), line.text
    assert {config.prm, config.orm} <= written.models, line.text


WRITERS: dict[str, Callable[[Any, Line, Written], None]] = {
    "sample": after_sample,
    "grade": after_grade,
    "consensus": after_consensus,
    "build": after_build,
    "convert": after_convert,
    "quickstart": after_quickstart,
    "train-score": after_train_score,
    "publish": after_publish,
    "publish-data": after_publish_data,
    "search": after_search,
    "solve": after_solve,
    "show-tree": after_show_tree,
    "route": after_route,
    "serve": after_serve,
    "evaluate": after_evaluate,
    "grpo": after_grpo,
    "launch": after_launch,
}


def trainings_on_labels() -> list[tuple[Rows, LabelAlgebra, str]]:
    found: list[tuple[Rows, LabelAlgebra, str]] = []
    for section in sections():
        written = Written()
        for lines in section:
            found += follow(lines, written)
    return found


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_config_of_a_command_stands_in_a_chain() -> None:
    used = {
        word
        for section in sections()
        for lines in section
        for line in lines
        for word in line.arguments
        if word.startswith("configs/")
    }
    assert used == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "configs").rglob("*.yaml")
        if path.parent.name not in ("accelerate", "policies", "scorers")
    }


def test_every_line_reads_what_lines_above_it_wrote() -> None:
    texts = [text for _, _, text in trainings_on_labels()]
    assert sum("configs/train_prm/" in text or text.startswith("pipeline.sh") for text in texts) >= 12


def targets_of(rows: Rows, algebra: LabelAlgebra, run: Path) -> set[float]:
    """The targets of steps, with labels and rows made by the commands on a small run."""
    pairs = zip(rows.build[::2], rows.build[1::2], strict=True)
    # A list that is given again is a longer one
    kept = [word for pair in pairs if pair[0] not in ("--runs", "--kinds") for word in pair]
    build(
        (
            *kept,
            *(
                "--runs",
                str(run),
                "--output",
                str(run / "rows"),
                "--kinds",
                "prm",
                "--contamination.test_sets",
                "[]",
            ),
        )
    )
    made = read_rows(run / "rows" / "prm.jsonl", PrmRow)
    return {target.value for row in made for target in step_targets(row, algebra) if target is not None}


def test_the_labels_of_a_chain_are_what_its_training_takes(tmp_path: Path) -> None:
    sample(("--output", str(tmp_path), *SMALL))
    by_labels: dict[tuple[str, ...], list[tuple[Rows, LabelAlgebra, str]]] = {}
    for rows, algebra, text in trainings_on_labels():
        for arguments in rows.labels:
            by_labels.setdefault(arguments, []).append((rows, algebra, text))
    assert len(by_labels) >= 9
    for arguments, trainings in by_labels.items():
        fewer = ("--omega_searches", "4") if "omega" in " ".join(arguments) else ()
        label((*arguments, "--run", str(tmp_path), "--dry_run", "false", *fewer))
        for rows, algebra, text in trainings:
            assert targets_of(rows, algebra, tmp_path) >= {0.0, 1.0}, f"{text} after {' '.join(arguments)}"
    label(("--run", str(tmp_path)))
    with pytest.raises(InputError, match=r"soft value needs a fixed number of rollouts.*'first_success'"):
        targets_of(Rows("prm", "\n"), LabelAlgebra(label_kind="soft"), tmp_path)
