"""`prm-train allocate`: which method with which N to use on which problems (Snell et al. 2024, section 3.2),
from the results of `prm-train search` and `prm-train estimate-difficulty`.

Settings of methods are chosen on validation problems, as for `prm-train evaluate`. The method and N of each
bin of difficulty are chosen on test problems, and judged on those of other folds. allocation.json holds the
choice of all of them, for `prm-train solve` and `prm-train search`; allocation-report.json what it is worth,
in every unit and with every estimate of difficulty, and what stopping early saves; allocation.html shows it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from data_gen.files.run_identity import check_folder
from data_gen.models.names import check_inputs
from data_gen.process.machine import code_version
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from data_gen.settings.parse import command_line, parse_config, run_command
from prm_train.allocation.arms import UNITS
from prm_train.allocation.early_stop import early_stops
from prm_train.allocation.folds import Bins
from prm_train.allocation.page import FILE, PAGE_FILE, REPORT_FILE, write_page
from prm_train.allocation.pictures import allocation_figures
from prm_train.allocation.results import AllocationReport, AllocationRun
from prm_train.allocation.study import Study, StudySettings, Way
from prm_train.allocation.tables import report_table
from prm_train.evaluation.choosing import choose_settings
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import PREDICTOR_FILE, DifficultyPredictor, read_difficulties
from prm_train.evaluation.evaluate import check_results
from prm_train.evaluation.pictures.figures import write_all
from prm_train.evaluation.shards import ALLOCATION, FinishedSearch, check_chosen_for, read_search
from prm_train.search.allocation import PROMPT, SCORE, Allocation, Sharing, Unit
from prm_train.search.model_flops import models_flops

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AllocateConfig:
    """Choose by difficulty which method with which N answers a question."""

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on validation problems"}
    )
    test: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on test problems"}
    )
    difficulty: Path = field(
        metadata={"is_input": True, "help": "folder of `prm-train estimate-difficulty` for the test problems"}
    )
    output: Path = field(
        metadata={"help": "folder for allocation.json, allocation-report.json and allocation.html"}
    )
    estimate: str | None = field(
        default=None,
        metadata={
            "help": "the estimate of difficulty that allocation.json rests on: score or prompt; null: score, "
            "if there is one"
        },
    )
    bins: Bins = field(
        default="quantile", metadata={"help": "bins of difficulty of allocation.json: quantile or absolute"}
    )
    n_bins: int = field(default=5, metadata={"help": "number of quantile bins"})
    sharing: Sharing = field(
        default="mean",
        metadata={
            "help": "what a budget of allocation.json is: mean (a problem costs so much on average) or each "
            "(in every bin)"
        },
    )
    unit: Unit = field(
        default="tokens",
        metadata={"help": "what budgets of allocation.json are in: generations, tokens or flops"},
    )
    budgets: tuple[float, ...] = field(
        default=(),
        metadata={"help": "budgets a problem, in the unit; none: 1.05 times what best-of-N costs at each N"},
    )
    n_folds: int = field(default=5, metadata={"help": "number of folds of the test problems"})
    prior: float = field(
        default=20.0,
        metadata={
            "help": "how many problems the mean over all of them counts as, when arms are judged within a bin"
        },
    )
    methods: tuple[str, ...] = field(
        default=(),
        metadata={"help": "names of methods, as in report.json, to choose among; none: all of evaluate"},
    )
    early_stop_arms: bool = field(
        default=True,
        metadata={"help": "let bins choose methods that stop early (_early and _margin), too"},
    )
    figures: Path | None = field(
        default=None,
        metadata={"help": "folder for the pictures of allocation.html, each as SVG with its data as CSV"},
    )
    seed: int = field(default=0, metadata={"help": "seed of the folds and of the bootstrap"})

    def __post_init__(self) -> None:
        for name, number, least in (("n_bins", self.n_bins, 1), ("n_folds", self.n_folds, 2)):
            if number < least:
                raise ValueError(f"{name}: got {number}, expected {least} or more")
        if not self.prior >= 0:
            raise ValueError(f"prior: got {self.prior}, expected 0 or more")
        if self.estimate not in (None, SCORE, PROMPT):
            raise ValueError(f"estimate: got {self.estimate}, expected {SCORE} or {PROMPT}")
        if not all(budget > 0 for budget in self.budgets):
            raise ValueError(f"budgets: got {list(self.budgets)}, expected each to be more than 0")


def read_predictor(folder: Path, test: FinishedSearch) -> DifficultyPredictor:
    """Raises InputError where its fits are for other models."""
    predictor = DifficultyPredictor.read(folder / PREDICTOR_FILE)
    for name, model_id in predictor.models.items():
        if test.models.get(name) != model_id:
            raise InputError(
                f"{folder / PREDICTOR_FILE}: for the {name} {model_id}; expected "
                f"{test.models.get(name, 'none')}, which test was searched with"
            )
    return predictor


def allocate(config: AllocateConfig) -> tuple[AllocationReport, Allocation]:
    validation, test = read_search(config.validation), read_search(config.test)
    check_chosen_for(validation, test)
    chosen = choose_settings(validation.results)
    check_results(validation.results, test.results, chosen)
    predictor = read_predictor(config.difficulty, test)
    results = [result for result in test.results if not result.failure]
    flops = models_flops(test.config)
    costs = Costs(results, test.config.step_separator, flops)
    settings = StudySettings(
        config.n_folds, config.seed, config.prior, config.n_bins, config.methods, config.early_stop_arms
    )
    if config.n_folds > len(results):
        raise InputError(f"n_folds: got {config.n_folds}; expected at most {len(results)}, the test problems")
    study = Study(costs, chosen, predictor, read_difficulties(config.difficulty, results), settings)
    budgets = {config.unit: config.budgets} if config.budgets else {}
    kind = config.estimate or next((each for each in (SCORE, PROMPT) if each in study.estimates), None)
    if kind not in study.estimates:
        raise InputError(
            f"estimate: got {kind or 'none'}; expected one of those in {config.difficulty}: "
            f"{', '.join(sorted(study.estimates))}"
        )
    if config.unit not in study.units:
        raise InputError(
            f"unit: got {config.unit}; expected one of {', '.join(study.units)}: costs of these are known"
        )
    way = Way(kind, config.bins, config.sharing, config.unit)
    models = {name: each for name, each in test.models.items() if name != ALLOCATION}
    draws = DrawSettings(**{each.name: getattr(test.config, each.name) for each in fields(DrawSettings)})
    allocation = study.allocation(way, config.budgets, models, draws)
    answered = [result for result in validation.results if not result.failure]
    report = study.report(
        {unit: budgets.get(unit, ()) for unit in UNITS},
        len(test.results) - len(results),
        study.bin_table(way, config.budgets),
        early_stops(Costs(answered, costs.separator, flops), costs, chosen, config.seed),
    )
    run = AllocationRun(
        command_line("allocate", config), code_version(), datetime.now(UTC).date().isoformat()
    )
    return replace(report, run=run), allocation


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(AllocateConfig, argv)
    check_inputs(config)
    check_folder(config.output)
    report, allocation = allocate(config)
    config.output.mkdir(parents=True, exist_ok=True)
    allocation.write(config.output / FILE)
    report.write(config.output / REPORT_FILE)
    write_page(report, allocation, config.output / PAGE_FILE)
    if config.figures is not None:
        write_all(allocation_figures(report, allocation), config.figures)
    logger.info("%s:\n%s", config.output / REPORT_FILE, report_table(report, allocation))


if __name__ == "__main__":
    run_command(main, "allocate")
