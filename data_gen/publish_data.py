"""`prm-train publish-data`: training rows as a dataset with Parquet files and a card, in a folder or on the
Hub.

    prm-train publish-data --rows runs/math/rows --output runs/math/dataset --license mit prm-train
    publish-data --rows runs/math/rows --output runs/math/dataset --license mit --repo user/math-steps
    --private false

Each kind of rows becomes a configuration: `load_dataset(folder, "prm", split="train")`. The folder appears
when all of it is written and was read back with `datasets`, each row equal to the line that it came from;
only then is anything pushed.
"""

import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from data_gen.files.jsonl import read_jsonl, write_text
from data_gen.publishing.card import Publication, render
from data_gen.publishing.facts import (
    DatasetFacts,
    KindFacts,
    StepFacts,
    different,
    kind_facts,
    run_facts,
    step_facts,
)
from data_gen.publishing.hub import DEFAULT_TOKEN_ENV, HubRepository, check_token_env, push_folder
from data_gen.publishing.scrubbing import public_settings, refuse_secrets
from data_gen.publishing.whole_folder import CARD, whole_folder
from data_gen.rows.build_record import BuildRecord, read_build
from data_gen.rows.layouts import ROW_TYPES, AnyRow, RowKind, features, read_rows
from data_gen.rows.settings import BuildConfig
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, parse_config, run_command

if TYPE_CHECKING:
    from datasets import Features

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishDataConfig:
    """Publish training rows as a dataset."""

    rows: Path = field(metadata={"help": "folder that `prm-train build` wrote"})
    output: Path = field(
        metadata={"help": "folder for the dataset; an earlier dataset of this command there is replaced"}
    )
    license: str = field(
        metadata={
            "help": "the Hub's name of a license, as mit or cc-by-4.0; the licenses of the problems and of "
            "the policy must allow it"
        }
    )
    title: str | None = field(
        default=None, metadata={"help": "heading of the card; null: a description of the rows"}
    )
    problems: str | None = field(
        default=None,
        metadata={
            "help": "what the card says of the problems and their authors, as 'GSM8K (openai, MIT)'; null: "
            "the name of their source"
        },
    )
    languages: tuple[str, ...] = field(
        default=("en",), metadata={"help": "languages of the questions, as ISO 639-1 codes"}
    )
    repo: str | None = field(
        default=None,
        metadata={"help": "user/name of a dataset on the Hub to push to; null: write only the folder"},
    )
    private: bool = field(default=True, metadata={"help": "whether a repository that is created is private"})
    token_env: str = field(
        default=DEFAULT_TOKEN_ENV,
        metadata={
            "help": "environment variable with the Hub's token; HF_TOKEN falls back on the login of `hf`"
        },
    )
    max_shard_megabytes: Annotated[int, Ge(1)] = field(
        default=500, metadata={"help": "megabytes of JSON lines that go into one Parquet file"}
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise ValueError(
                f"license: got {self.license!r}, expected the Hub's name of one, in small letters, as "
                "apache-2.0 or mit"
            )
        if self.repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ValueError(f"repo: got {self.repo!r}, expected user/name")
        check_token_env(self.token_env)


@dataclass(frozen=True)
class RowsFile:
    """A file of rows and the split of a configuration that it becomes."""

    path: Path
    kind: RowKind
    split: str


def sample_defaults() -> dict[str, Any]:
    """Settings that the card need not show. The model is always shown: without one the shown settings would
    be of no run.
    """
    dumped = dump_config(SampleConfig(output=Path("run")))
    return {**dumped, "policy": {**dumped["policy"], "model": None}}


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(PublishDataConfig, argv)
    files = find_rows(config.rows)
    refuse_secrets(file.path for file in files)
    with whole_folder(config.output, "dataset") as folder:
        facts = write_dataset(files, folder, config)
        refuse_secrets([folder / CARD])
        check_readable(files, folder)
    n_rows = sum(kind.n_rows for kind in facts.kinds)
    logger.info(
        "%s: %d rows, read back with datasets and equal to those of %s", config.output, n_rows, config.rows
    )
    if config.repo is not None:
        repository = HubRepository(config.repo, "dataset", config.private, config.token_env)
        url = push_folder(
            config.output,
            repository,
            f"Rows of {config.rows.name}",
            [f"{kind}/*.parquet" for kind in ROW_TYPES],
        )
        logger.info("pushed: %s", url)


def publication(config: PublishDataConfig, facts: DatasetFacts) -> Publication:
    title = config.title or ("Step labels by Monte Carlo rollouts" if facts.steps else "Graded solutions")
    return Publication(
        title,
        config.license,
        config.repo or f"./{config.output.resolve().name}",
        config.problems,
        config.languages,
    )


# --- from rows to Parquet


def find_rows(folder: Path) -> list[RowsFile]:
    """The files that build.json lists, else any <kind>.jsonl; those without a row are left out. Raises
    InputError if none is left.
    """
    build = read_build(folder)
    listed: Mapping[RowKind, Mapping[str, str]] = {kind: {"train": f"{kind}.jsonl"} for kind in ROW_TYPES}
    if build and build.files:
        listed = build.files
    else:
        listed = {kind: splits for kind, splits in listed.items() if (folder / splits["train"]).is_file()}
    files = [
        RowsFile(folder / name, kind, split)
        for kind, splits in listed.items()
        for split, name in splits.items()
    ]
    with_rows = []
    for file in files:
        if next(read_jsonl(file.path), None) is None:
            logger.warning("%s: holds no row and is left out", file.path)
        else:
            with_rows.append(file)
    if not with_rows:
        raise InputError(f"{folder}: no rows to publish; expected files of `prm-train build`, as prm.jsonl")
    return with_rows


def write_dataset(files: Sequence[RowsFile], folder: Path, config: PublishDataConfig) -> DatasetFacts:
    """Write the Parquet files of each kind and split, and the card from what they hold and where they come
    from.
    """
    kinds: list[KindFacts] = []
    steps: StepFacts | None = None
    splits_of: dict[str, set[str]] = {}  # by problem
    for kind in dict.fromkeys(file.kind for file in files):
        row_type: type[Any] = ROW_TYPES[kind]
        columns = features(row_type)
        rows_by_split: dict[str, list[Any]] = {}
        for file in files:
            if file.kind == kind:
                rows = rows_by_split[file.split] = read_rows(file.path, row_type)
                n_shards = ceil(file.path.stat().st_size / (config.max_shard_megabytes * 2**20))
                write_shards(rows, columns, folder / kind / file.split, n_shards)
                for row in rows:
                    splits_of.setdefault(row.problem_id, set()).add(file.split)
        kinds.append(
            kind_facts(kind, rows_by_split, {name: type_words(column) for name, column in columns.items()})
        )
        if kind == "prm":
            steps = step_facts(chain.from_iterable(rows_by_split.values()))
    build = read_build(config.rows) or BuildRecord()
    facts = DatasetFacts(
        kinds=tuple(kinds),
        n_problems=len(splits_of),
        n_shared_problems=sum(len(splits) > 1 for splits in splits_of.values()),
        steps=steps,
        runs=run_facts(build, sample_defaults()),
        build=build,
        build_settings=build_settings(build),
    )
    write_text(folder / CARD, render(facts, publication(config, facts)))
    return facts


def build_settings(build: BuildRecord) -> dict[str, Any]:
    """The settings of `prm-train build` that are no defaults, but for its folders."""
    found = different(
        public_settings(build.config), dump_config(BuildConfig(runs=(Path("run"),), output=Path("rows")))
    )
    return {name: value for name, value in found.items() if name not in ("runs", "output")}


def write_shards(rows: Sequence[AnyRow], columns: "Features", stem: Path, n_shards: int) -> None:
    """`stem`-00000-of-… up to `n_shards` Parquet files with equally many rows."""
    import pyarrow
    import pyarrow.parquet

    stem.parent.mkdir(parents=True, exist_ok=True)
    n_shards = min(n_shards, len(rows))
    for shard in range(n_shards):
        part = rows[len(rows) * shard // n_shards : len(rows) * (shard + 1) // n_shards]
        table = pyarrow.Table.from_pylist([asdict(row) for row in part], schema=columns.arrow_schema)
        pyarrow.parquet.write_table(table, f"{stem}-{shard:05d}-of-{n_shards:05d}.parquet")


def type_words(column: Any) -> str:
    """'string', 'list of bool', 'list of {role, content}'."""
    if isinstance(column, Mapping):
        return "{" + ", ".join(column) + "}"
    inner = getattr(column, "feature", None)
    return str(column.dtype) if inner is None else f"list of {type_words(inner)}"


# --- reading back


def check_readable(files: Sequence[RowsFile], folder: Path) -> None:
    """Load the folder as its users will and compare each row with the line it came from. Raises InputError
    naming the first difference.
    """
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        for file in files:
            loaded = load_dataset(str(folder), file.kind, split=file.split, cache_dir=cache)
            where = f"{folder}: configuration {file.kind}, split {file.split}"
            for found, line in zip_longest(loaded, read_jsonl(file.path)):
                if found is None or line is None:
                    more, less = (file.path, "it") if found is None else ("it", file.path)
                    raise InputError(f"{where}: {more} has more rows than {less}; nothing was published")
                number, wanted = line
                for name in wanted:
                    if found.get(name) != wanted[name]:
                        raise InputError(
                            f"{where}: {name} is {found.get(name)!r:.80} after re-reading, "
                            f"{wanted[name]!r:.80} in {file.path}:{number}; "
                            "nothing was published"
                        )


if __name__ == "__main__":
    run_command(main, "publish-data")
