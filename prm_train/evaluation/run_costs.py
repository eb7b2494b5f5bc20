"""What the runs behind a report cost, from the summaries that each command left in its folder.

Seconds of a search are those of all its processes. Of a sampling or labeling that was broken off they are
those of its last process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_gen.labeling.summary import LabelSummary
from data_gen.records.sampling import Usage
from data_gen.sampling.summary import SampleSummary
from prm_train.evaluation.results import StageCost
from prm_train.metrics.training_report import TrainingReport
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.summary import SearchSummary

Summary = SampleSummary | LabelSummary | SearchSummary


def costs_of_runs(
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    searches: Mapping[str, Sequence[Path]],
    n_policy: int,
    n_scorer: int,
) -> tuple[StageCost, ...]:
    """One entry a command and folder, in the order of the pipeline; a folder without its summary has none.

    `checkpoints` are trained scorers by name, `searches` folders by split. FLOPs are 2 a parameter and token,
    6 in training (Kaplan et al. 2020); 0 where the number of parameters is.
    """
    return (
        *_stages("sample", labeled, "sample.json", SampleSummary, n_policy, n_scorer),
        *_stages("label", labeled, "label.json", LabelSummary, n_policy, n_scorer),
        *(
            cost
            for name, folder in checkpoints.items()
            if folder is not None
            for cost in _training(f"train {name}", folder, n_scorer)
        ),
        *(
            cost
            for name, some in searches.items()
            for cost in _stages(f"search {name}", some, "search.json", SearchSummary, n_policy, n_scorer)
        ),
    )


def forward_flops(spent: Iterable[Summary], n_policy: int, n_scorer: int) -> float:
    """2 a parameter and token computed (Kaplan et al. 2020)."""
    totals = list(spent)
    n_drawn = sum(each.n_generated + each.n_prefilled for each in totals)
    n_scored = sum(each.n_scorer_new for each in totals if isinstance(each, SearchSummary))
    return float(2 * n_policy * n_drawn + 2 * n_scorer * n_scored)


def token_cost(
    words: str, wall_seconds: float, cpu_seconds: float, spent: Sequence[Summary], flops: float
) -> StageCost:
    """Of a stage that left these summaries."""
    usage = sum((each.usage for each in spent), Usage())
    scorer = sum((each.scorer_usage for each in spent if isinstance(each, SearchSummary)), ScorerUsage())
    tokens = usage.n_generated, usage.n_prefilled, usage.n_cached, scorer.n_new, scorer.n_reused
    return StageCost(words, wall_seconds, cpu_seconds, *tokens, flops)


def _stages(
    words: str, folders: Sequence[Path], file: str, kind: type[Summary], n_policy: int, n_scorer: int
) -> Iterator[StageCost]:
    for folder in folders:
        if (folder / file).is_file():
            found = kind.read(folder / file)
            name = words if len(folders) == 1 else f"{words}, {folder.name}"
            yield token_cost(
                name, found.seconds, found.cpu_seconds, [found], forward_flops([found], n_policy, n_scorer)
            )


def _training(words: str, folder: Path, n_scorer: int) -> Iterator[StageCost]:
    path = folder / "training" / "report.json"
    if path.is_file():
        report = TrainingReport.read(path)
        yield StageCost(
            words,
            report.cost.wall_seconds,
            report.cost.cpu_seconds,
            flops=6 * n_scorer * report.n_tokens_seen,
        )
