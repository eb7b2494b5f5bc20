"""What can be said of a folder of training rows: counted from the rows themselves, and read from the runs
that they were built from.

build.json, which `prm-train build` leaves beside the rows, tells how the solutions were written, graded and
labeled, and what was left out; the ledgers of its runs, if they are still there, tell by which policy. Texts
pass through `scrubbing`: all of this is for the public.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from data_gen.ledger.file import LedgerError
from data_gen.ledger.store import Ledger
from data_gen.publishing.scrubbing import public_path, public_settings, public_text
from data_gen.rows.build_record import BuildRecord, RunDescription
from data_gen.rows.layouts import PrmRow
from data_gen.rows.search_candidates import SearchTotals
from data_gen.sampling.summary import RunSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitFacts:
    """How many rows a split holds, on how many problems."""

    name: str
    n_rows: int
    n_problems: int


@dataclass(frozen=True)
class KindFacts:
    """One kind of rows: its splits, its columns with their types in words, and one of the rows."""

    kind: str
    splits: tuple[SplitFacts, ...]
    columns: Mapping[str, str]
    example: Mapping[str, Any]

    @property
    def n_rows(self) -> int:
        return sum(split.n_rows for split in self.splits)


@dataclass(frozen=True)
class StepFacts:
    """Sums over the steps of the PRM rows: labels ('true', 'false', 'null'), and steps by (method,
    stopping).
    """

    labels: Mapping[str, int]
    evidence: Mapping[tuple[str, str], int]
    n_rollouts: int
    n_unknown: int  # rollouts among them that got no verdict or were cut
    n_false_on_unknown: int  # steps with a false label and at least one such rollout


@dataclass(frozen=True)
class JudgedFacts:
    """The model or file whose judgements confirmed first errors, and what of the labeled solutions they
    left.
    """

    judge: str
    n_solutions: int
    n_kept: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class RunFacts:
    """Runs with the same settings (the shards of one job).

    `sampling` and `labeling` are their settings, `sample_settings` those of sampling that are no defaults;
    numbers are sums over the runs.
    """

    folders: tuple[str, ...]  # what was built from
    sampled: tuple[str, ...]  # where it was sampled and labeled: another folder if a judge came after that
    shards: tuple[str | None, ...]  # of the folders: the part 'i/n' of the problems that each worked on
    sampling: Mapping[str, Any]
    sample_settings: Mapping[str, Any]
    labeling: Mapping[str, Any]
    n_solutions: int
    verdicts: Mapping[str, int]
    finish_reasons: Mapping[str, int]
    unlabeled: Mapping[str, int]
    n_rollouts: int
    n_generated: int
    judged: JudgedFacts | None  # None: there was no judge
    policy_ids: tuple[str, ...]
    graders: tuple[str, ...]
    search: SearchTotals | None = None  # of runs of `prm-train search`, whose settings `sampling` are


@dataclass(frozen=True)
class DatasetFacts:
    """Everything that the card says, but for what its author says (title, license, problems)."""

    kinds: tuple[KindFacts, ...]
    n_problems: int  # with rows of any kind
    n_shared_problems: int  # with rows in more than one split, of whatever kinds
    steps: StepFacts | None  # None: no PRM rows
    runs: tuple[RunFacts, ...]
    build: BuildRecord
    build_settings: Mapping[str, Any]  # of `prm-train build`, those that are no defaults


def kind_facts(
    kind: str, rows_by_split: Mapping[str, Sequence[Any]], columns: Mapping[str, str]
) -> KindFacts:
    """`rows_by_split` holds the rows of one kind, all of which name their problem; `columns` their types in
    words.
    """
    splits = tuple(
        SplitFacts(split, len(rows), len({row.problem_id for row in rows}))
        for split, rows in rows_by_split.items()
    )
    return KindFacts(
        kind, splits, columns, asdict(choose_example(list(chain.from_iterable(rows_by_split.values()))))
    )


def step_facts(rows: Iterable[PrmRow]) -> StepFacts:
    labels, evidence = Counter[str](), Counter[tuple[str, str]]()
    n_rollouts = n_unknown = n_false_on_unknown = 0
    for row in rows:
        labels.update(json.dumps(label) for label in row.labels)
        evidence.update(zip(row.method, row.stopping, strict=True))
        n_rollouts += sum(row.n_rollouts)
        n_unknown += sum(row.n_unknown)
        n_false_on_unknown += sum(
            label is False and n > 0 for label, n in zip(row.labels, row.n_unknown, strict=True)
        )
    return StepFacts(dict(labels), dict(evidence.most_common()), n_rollouts, n_unknown, n_false_on_unknown)


def choose_example(rows: Sequence[Any]) -> Any:
    """The shortest row of those that show most: PRM rows with both labels and rollouts, ORM rows with a right
    answer, and so on.
    """

    def shown(row: Any) -> tuple[int, int]:
        fields = vars(row)
        labels = set(fields.get("labels", ()))
        variety = (
            3 * ({True, False} <= labels)
            + any(fields.get("n_rollouts", ()))
            + bool(fields.get("n_attempts"))
            + (None in labels)
        )
        return -variety, len(json.dumps(list(fields.values()), default=vars))

    return min(rows, key=shown)


# --- runs


def different(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings whose value is another than the default, nested as they are."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            inner = different(value, default)
            found |= {name: inner} if inner else {}
        elif value != default:
            found[name] = value
    return found


def run_facts(build: BuildRecord, sample_defaults: Mapping[str, Any]) -> tuple[RunFacts, ...]:
    """One entry for the runs that differ in nothing but their folder and shard."""
    folders = build.config.get("runs") or [run.run for run in build.runs]
    groups: dict[str, list[tuple[Path, RunDescription]]] = {}
    for folder, run in zip(map(Path, folders), build.runs, strict=True):
        key = json.dumps([_sampling(run), _labeling(run), _judge(run)], sort_keys=True)
        groups.setdefault(key, []).append((folder, run))
    return tuple(_merge(group, sample_defaults) for group in groups.values())


def _sampling(run: RunDescription) -> dict[str, Any]:
    """The settings of `prm-train sample` that all shards of a job share, fit for the public."""
    settings = run.config or {}
    problems = {name: value for name, value in settings.get("problems", {}).items() if name != "shard"}
    public: dict[str, Any] = public_settings({**settings, "problems": problems})
    for private in ("output", "ledger"):
        public.pop(private, None)
    return public


def _labeling(run: RunDescription) -> dict[str, Any]:
    """The settings of `prm-train label`; nothing for a run that was only sampled."""
    if run.label is None or not run.label.method:
        return {}
    public: dict[str, Any] = public_settings({"method": run.label.method, **run.label.settings})
    return public


def _judge(run: RunDescription) -> str | None:
    """The model that judged the labels, or the file that its judgements came in."""
    if run.consensus is None:
        return None
    model = run.consensus.judge_model
    return public_path(run.consensus.config["judgements"]) if model is None else public_text(model)


def _judged(group: Sequence[RunDescription]) -> JudgedFacts | None:
    summaries, judge = [run.consensus for run in group if run.consensus is not None], _judge(group[0])
    if judge is None:
        return None
    return JudgedFacts(
        judge=judge,
        n_solutions=sum(each.n_solutions for each in summaries),
        n_kept=sum(each.n_kept for each in summaries),
        left_out=_total(each.left_out for each in summaries),
    )


def _merge(group: Sequence[tuple[Path, RunDescription]], sample_defaults: Mapping[str, Any]) -> RunFacts:
    samples = [run.sample for _, run in group if run.sample is not None]
    labels = [run.label for _, run in group if run.label is not None]
    searches = [run.search for _, run in group if run.search is not None]
    sampled = [folder if run.consensus is None else run.consensus.run for folder, run in group]
    sources = {source for folder in sampled for source in _ledger_sources(_ledger_path(folder))}
    return RunFacts(
        folders=tuple(public_path(folder) for folder, _ in group),
        sampled=tuple(public_path(folder) for folder in sampled),
        shards=tuple((run.config or {}).get("problems", {}).get("shard") for _, run in group),
        sampling=_sampling(group[0][1]),
        sample_settings=different(_sampling(group[0][1]), sample_defaults),
        labeling=_labeling(group[0][1]),
        n_solutions=sum(sample.n_solutions for sample in samples),
        verdicts=_total(sample.verdicts for sample in samples),
        finish_reasons=_total(sample.finish_reasons for sample in samples),
        unlabeled=_total(label.unlabeled for label in labels),
        n_rollouts=sum(label.n_rollouts for label in labels),
        n_generated=sum(each.n_generated for each in (*samples, *labels))
        + sum(each.n_generated for each in searches),
        judged=_judged([run for _, run in group]),
        policy_ids=tuple(sorted({policy for policy, _ in sources})),
        graders=tuple(sorted({grader for _, grader in sources})),
        search=_all_searches(searches),
    )


def _all_searches(searches: Sequence[SearchTotals]) -> SearchTotals | None:
    if not searches:
        return None
    return SearchTotals(
        sum(each.n_candidates for each in searches),
        sum(each.n_generated for each in searches),
        sum(each.n_scorer_new for each in searches),
    )


def _ledger_path(run: Path) -> Path:
    """Where `prm-train sample` put the draws of a run."""
    settings = RunSettings.of(run)
    return Path(settings.ledger) if settings and settings.ledger else run / "ledger.sqlite"


def _ledger_sources(path: Path) -> list[tuple[str, str]]:
    """(policy_id, grader_version) in a run's ledger; nothing where the run lies elsewhere by now or another
    version wrote it.
    """
    try:
        with Ledger(path, read_only=True) as ledger:
            return ledger.sources()
    except (FileNotFoundError, LedgerError) as error:
        logger.warning("no policy_id for the card: %s", error)
        return []


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return dict(total)
