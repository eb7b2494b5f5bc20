"""`prm-train compare-sizes`: a small policy that searches against a larger one that answers once, at equal
FLOPs in pretraining and answering together (Snell et al. 2024, section 7), by difficulty.

    prm-train search --policy.model runs/large/policy --problems.… --output runs/large/test      no PRM
    prm-train compare-sizes --validation runs/small/validation --small runs/small/test \\
        --difficulty runs/small/difficulty --large runs/large/test --output runs/sizes

Nothing is drawn or scored: accuracies are those of stored samples and searches. What the budget pays for
beyond the largest stored N is not extrapolated.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import get_args

from data_gen.files.run_identity import check_folder
from data_gen.files.stored_record import StoredRecord
from data_gen.models.names import check_inputs
from data_gen.problems.tasks import DEFAULT_TASK, model_path
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.allocation.allocate import read_predictor
from prm_train.allocation.size_plot import write_size_plot
from prm_train.allocation.size_results import FlopsKind, PolicyFacts, Pretraining, SizeReport, SizeRow
from prm_train.allocation.size_study import Answers, SizeStudy, single_answers
from prm_train.allocation.size_tables import size_table
from prm_train.allocation.study import Study, StudySettings
from prm_train.evaluation.choosing import Chosen, choose_settings
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import read_difficulties
from prm_train.evaluation.evaluate import check_results
from prm_train.evaluation.shards import FinishedSearch, check_chosen_for, read_search
from prm_train.metrics.estimators import N_QUINTILES
from prm_train.scoring.flops import ForwardFlops, read_forward_flops, read_parameter_flops
from prm_train.search.model_flops import models_flops

logger = logging.getLogger(__name__)
FILE, FIGURE = "sizes.json", "sizes.svg"
CURVES = ("prm_weighted", "particle_filter")


@dataclass(frozen=True)
class CompareSizesConfig:
    """Compare a small policy that searches with a larger one that answers once, at equal FLOPs."""

    validation: tuple[Path, ...] = field(
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` of the small policy on validation problems",
        }
    )
    small: tuple[Path, ...] = field(
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` of the small policy on test problems",
        }
    )
    large: tuple[Path, ...] = field(
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` of the large policy on the same problems, without a PRM",
        }
    )
    difficulty: Path = field(
        metadata={
            "is_input": True,
            "help": "folder of `prm-train estimate-difficulty` for the test problems and the small policy",
        }
    )
    output: Path = field(metadata={"help": "folder for sizes.json and sizes.svg"})
    loads: tuple[float, ...] = field(
        default=(0.16, 0.79, 22.0),
        metadata={"help": "values of R, tokens of all answers over tokens of pretraining"},
    )
    small_pretraining_tokens: int | None = field(
        default=None,
        metadata={
            "help": "tokens that the small policy saw; null: as its pretraining.json says, if there is one"
        },
    )
    large_pretraining_tokens: int | None = field(
        default=None, metadata={"help": "the same of the large policy"}
    )
    curves: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "methods, as in report.json, to read at the budget, besides what difficulty chooses; "
            f"none: those there are of {', '.join(CURVES)}"
        },
    )
    methods: tuple[str, ...] = field(
        default=(), metadata={"help": "methods to choose among by difficulty; none: all of evaluate"}
    )
    n_folds: int = field(default=5, metadata={"help": "number of folds of the test problems"})
    prior: float = field(
        default=20.0,
        metadata={
            "help": "how many problems the mean over all of them counts as, when a fifth judges methods"
        },
    )
    seed: int = field(default=0, metadata={"help": "seed of the folds and of the bootstrap"})

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds: got {self.n_folds}, expected 2 or more")
        if not self.prior >= 0:
            raise ValueError(f"prior: got {self.prior}, expected 0 or more")
        if not self.loads or not all(load > 0 for load in self.loads):
            raise ValueError(f"loads: got {list(self.loads)}, expected some, each more than 0")
        for name in ("small_pretraining_tokens", "large_pretraining_tokens"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name}: got {number}, expected 1 or more")


@dataclass(frozen=True)
class TokenCount:
    n_tokens: int


@dataclass(frozen=True)
class PretrainingTokens(StoredRecord):
    """The part of pretraining.json that says how many tokens a policy saw."""

    WRITTEN_BY = "data_gen.pretrain"

    cost: TokenCount


def compare_sizes(config: CompareSizesConfig) -> SizeReport:
    """Raises InputError where the searches are not of the same problems with the same grader, a problem
    failed, FLOPs are not known, or the large policy is not larger.
    """
    validation, small, large = (read_search(each) for each in (config.validation, config.small, config.large))
    check_chosen_for(validation, small)
    chosen = choose_settings(validation.results)
    check_results(validation.results, small.results, chosen)
    check_same_problems(small, large)
    if not max(config.n_folds, N_QUINTILES) <= len(small.results):
        raise InputError(
            f"{len(small.results)} problems; expected at least {max(config.n_folds, N_QUINTILES)}, for folds "
            "and fifths"
        )
    kinds: tuple[FlopsKind, ...] = get_args(FlopsKind)
    studies = {kind: size_study(config, kind, small, large, chosen) for kind in kinds}
    ours = policy_facts(
        small, {kind: each.small for kind, each in studies.items()}, config.small_pretraining_tokens
    )
    theirs = policy_facts(
        large, {kind: each.large["greedy"] for kind, each in studies.items()}, config.large_pretraining_tokens
    )
    if theirs.n_parameters <= ours.n_parameters:
        raise InputError(
            f"large: its policy has {theirs.n_parameters:,} parameters; expected more than the "
            f"{ours.n_parameters:,} of small"
        )
    n, n_seen = len(small.results), ours.n_pretraining_tokens
    own_load = n * theirs.n_tokens / n_seen if n_seen else None
    rows: list[SizeRow] = []
    for kind, (tokens, ratio, load) in product(kinds, comparisons(config.loads, ours, theirs, own_load)):
        rows += studies[kind].rows(kind, tokens, load, ratio)
    return SizeReport(
        small=ours,
        large=theirs,
        n_problems=n,
        size_ratio=theirs.n_parameters / ours.n_parameters,
        temperature=large.config.temperature,
        own_load=own_load,
        n_folds=config.n_folds,
        seed=config.seed,
        rows=tuple(rows),
        curves=tuple(studies["counted"].curves()),
    )


def check_same_problems(small: FinishedSearch, large: FinishedSearch) -> None:
    """Raises InputError unless both answered the same problems, judged alike, and none failed."""
    names = {name: ",".join(map(str, each.folders)) for name, each in (("small", small), ("large", large))}
    for name, search in (("small", small), ("large", large)):
        failed = [result.problem.problem_id for result in search.results if result.failure]
        if failed:
            raise InputError(
                f"{name} {names[name]}: {len(failed)} problems failed, as {failed[0]}; expected none, since "
                "both must answer the same ones"
            )
    where = f"small {names['small']} and large {names['large']}"
    ours, theirs = ({each.problem.problem_id: each.problem for each in s.results} for s in (small, large))
    apart = sorted(ours.keys() ^ theirs.keys())
    if apart:
        raise InputError(
            f"{where}: {len(apart)} problems are in one of them alone, as {apart[0]}; expected the "
            "same problems"
        )
    other = next((name for name, problem in ours.items() if theirs[name] != problem), None)
    if other is not None:
        raise InputError(
            f"{where}: problem {other} is {ours[other].question!r:.60} with answer "
            f"{ours[other].gold_answer!r:.20} and {theirs[other].question!r:.60} with answer "
            f"{theirs[other].gold_answer!r:.20}; expected the same"
        )
    if small.config.grader != large.config.grader:
        raise InputError(
            f"{where}: grader is {small.config.grader} and {large.config.grader}; expected the same"
        )


def size_study(
    config: CompareSizesConfig, kind: FlopsKind, small: FinishedSearch, large: FinishedSearch, chosen: Chosen
) -> SizeStudy:
    """With FLOPs of a kind. Raises InputError where those of a model are not known."""
    costs = [known_costs(kind, search, name) for search, name in ((small, "small"), (large, "large"))]
    study = Study(
        costs[0],
        chosen,
        read_predictor(config.difficulty, small),
        read_difficulties(config.difficulty, small.results),
        StudySettings(config.n_folds, config.seed, config.prior, N_QUINTILES, config.methods),
    )
    if "flops" not in study.units:
        raise InputError("small: the FLOPs of some method are not known; search again with this version")
    known = {arm.choice.method for arm in study.every_arm}
    unknown = set(config.curves) - known
    if unknown:
        raise InputError(f"curves: got {min(unknown)}; expected some of {', '.join(sorted(known))}")
    return SizeStudy(
        study,
        single_answers(costs[0], "sampled"),
        {answer: single_answers(costs[1], answer) for answer in ("greedy", "sampled")},
        config.curves or [name for name in CURVES if name in known] or [study.best_of_n],
    )


def known_costs(kind: FlopsKind, search: FinishedSearch, name: str) -> Costs:
    flops: dict[str, ForwardFlops] = models_flops(
        search.config, read_forward_flops if kind == "counted" else read_parameter_flops
    )
    wanted = search.models.keys() & {"policy", "prm", "orm", "revision_model"}
    missing = sorted(wanted - flops.keys())
    if missing:
        raise InputError(
            f"{name} {','.join(map(str, search.folders))}: no weights of its {missing[0]} where config.json "
            "says; expected its folder there, from which FLOPs are counted"
        )
    uncounted = sorted(each for each in wanted if not flops[each].is_counted)
    if kind == "counted" and uncounted:
        logger.warning(
            "%s: %s is built in a way that is not counted; its FLOPs are 2 a parameter", name, uncounted[0]
        )
    return Costs(search.results, search.config.step_separator, flops)


def policy_facts(
    search: FinishedSearch, answers: dict[FlopsKind, Answers], n_pretraining_tokens: int | None
) -> PolicyFacts:
    folder = Path(model_path(search.config.policy.model or DEFAULT_TASK.policy))
    flops = read_parameter_flops(folder)
    assert flops is not None, "known_costs has read it"
    path = folder / "pretraining.json"
    if n_pretraining_tokens is None and path.is_file():
        n_pretraining_tokens = PretrainingTokens.read(path).cost.n_tokens
    return PolicyFacts(
        search.models["policy"],
        round(flops.per_token / 2),
        float(answers["counted"].tokens.mean()),
        {kind: float(each.flops.mean() / each.tokens.mean()) for kind, each in answers.items()},
        n_pretraining_tokens,
    )


def comparisons(
    loads: Sequence[float], small: PolicyFacts, large: PolicyFacts, own_load: float | None
) -> Iterator[tuple[Pretraining, float, float]]:
    """Which pretraining, D_large / D_small, and R."""
    yield from (("same", 1.0, load) for load in loads)
    if small.n_pretraining_tokens and large.n_pretraining_tokens and own_load:
        ratio = large.n_pretraining_tokens / small.n_pretraining_tokens
        yield from (("own", ratio, load) for load in (*loads, own_load))


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(CompareSizesConfig, argv)
    check_inputs(config)
    check_folder(config.output)
    report = compare_sizes(config)
    config.output.mkdir(parents=True, exist_ok=True)
    report.write(config.output / FILE)
    if report.curves:
        write_size_plot(report, config.output / FIGURE)
    logger.info("%s:\n%s", config.output / FILE, size_table(report))


if __name__ == "__main__":
    run_command(main, "compare-sizes")
