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
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.protocol import ScorerUsage
from prm_train.scoring.work import Work
from prm_train.search.summary import SearchSummary

Summary = SampleSummary | LabelSummary | SearchSummary


def costs_of_runs(
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    searches: Mapping[str, Sequence[Path]],
    policy: ForwardFlops,
    scorer: ForwardFlops,
) -> tuple[StageCost, ...]:
    """One entry a command and folder, in the order of the pipeline; a folder without its summary has none.

    `checkpoints` are trained scorers by name, `searches` folders by split. FLOPs are those of `flops`, three
    times as many in training; without attention, since summaries do not say where their tokens stood.
    """
    return (
        *_stages("sample", labeled, "sample.json", SampleSummary, policy, scorer),
        *_stages("label", labeled, "label.json", LabelSummary, policy, scorer),
        *(
            cost
            for name, folder in checkpoints.items()
            if folder is not None
            for cost in _training(f"train {name}", folder, scorer)
        ),
        *(
            cost
            for name, some in searches.items()
            for cost in _stages(f"search {name}", some, "search.json", SearchSummary, policy, scorer)
        ),
    )


def forward_flops(spent: Iterable[Summary], policy: ForwardFlops, scorer: ForwardFlops) -> float:
    """Of all tokens computed, attention left out."""
    totals = list(spent)
    n_generated, n_prefilled = (
        sum(getattr(each, name) for each in totals) for name in ("n_generated", "n_prefilled")
    )
    n_scored = sum(each.n_scorer_new for each in totals if isinstance(each, SearchSummary))
    return policy.of(Work(n_generated + n_prefilled), n_generated) + scorer.of(Work(n_scored), n_scored)


def training_flops(n_tokens: float, scorer: ForwardFlops) -> float:
    """A backward pass costs twice as much as the forward pass before it."""
    return 3 * (scorer.per_token + scorer.per_output) * n_tokens


def token_cost(
    words: str, wall_seconds: float, cpu_seconds: float, spent: Sequence[Summary], flops: float
) -> StageCost:
    """Of a stage that left these summaries."""
    usage = sum((each.usage for each in spent), Usage())
    scorer = sum((each.scorer_usage for each in spent if isinstance(each, SearchSummary)), ScorerUsage())
    tokens = usage.n_generated, usage.n_prefilled, usage.n_cached, scorer.n_new, scorer.n_reused
    return StageCost(words, wall_seconds, cpu_seconds, *tokens, flops)


def _stages(
    words: str,
    folders: Sequence[Path],
    file: str,
    kind: type[Summary],
    policy: ForwardFlops,
    scorer: ForwardFlops,
) -> Iterator[StageCost]:
    for folder in folders:
        if (folder / file).is_file():
            found = kind.read(folder / file)
            name = words if len(folders) == 1 else f"{words}, {folder.name}"
            yield token_cost(
                name, found.seconds, found.cpu_seconds, [found], forward_flops([found], policy, scorer)
            )


def _training(words: str, folder: Path, scorer: ForwardFlops) -> Iterator[StageCost]:
    path = folder / "training" / "report.json"
    if path.is_file():
        report = TrainingReport.read(path)
        yield StageCost(
            words,
            report.cost.wall_seconds,
            report.cost.cpu_seconds,
            flops=training_flops(report.n_tokens_seen, scorer),
        )
