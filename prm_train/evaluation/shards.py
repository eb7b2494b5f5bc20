"""Finished searches as a report reads them: the shards of one search, and whether settings chosen on one
search hold for another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data_gen.files.run_identity import first_difference, read_models
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, load_yaml
from prm_train.evaluation.stored_faults import first_fault
from prm_train.search.failures import as_unsolved
from prm_train.search.results import ProblemResult, read_results
from prm_train.search.settings import SearchConfig
from prm_train.search.summary import SearchSummary

ALLOCATION = "allocation"  # in models.json the id of one, which only a test is searched with
SELECTION = ("n", "offset", "shard")  # which problems of a source are searched
# where models are; models.json says which they are
OF_MODELS = ("prm", "prm_format", "orm", "revision_model")
OF_POLICY = ("model", "tokenizer", "revision")
# what may differ between a search for choosing settings and the search that they are chosen for
OF_TEST = (
    *("n_samples", "other_temperatures", "n_difficulty_draws"),
    *("strategies", "sizes", "aggregation", "allocation", "allocation_budget"),
)


@dataclass(frozen=True)
class FinishedSearch:
    """A search, in one folder or in the shards of it. `models` are ids by name: policy, prm, orm; `results`
    are in the order of their problem ids.
    """

    folders: tuple[Path, ...]
    config: SearchConfig
    models: dict[str, str]
    results: tuple[ProblemResult, ...]


def read_search(folders: Sequence[Path]) -> FinishedSearch:
    """The search whose shards are in `folders`. A problem that failed has candidates that solve nothing.

    Raises InputError if there is none, a folder holds no finished search, two are not shards of one search,
    or one problem is in two.
    """
    shards = [_read_shard(folder) for folder in folders]
    if not shards:
        raise InputError("no folder of a search; expected at least one")
    for shard in shards[1:]:
        _check_shard(shards[0], shard)
    results = sorted(
        (result for shard in shards for result in shard.results), key=lambda result: result.problem.problem_id
    )
    for one, other in pairwise(results):
        if one.problem.problem_id == other.problem.problem_id:
            raise InputError(
                f"problem {one.problem.problem_id} is in {', '.join(map(str, folders))} more than once; "
                "expected shards"
            )
    answered = next((result for result in results if not result.failure), None)
    if answered is None:
        raise InputError(f"{', '.join(map(str, folders))}: every problem failed; expected one that did not")
    results = [as_unsolved(result, answered) if result.failure else result for result in results]
    first = shards[0]
    return FinishedSearch(tuple(folders), first.config, first.models, tuple(results))


def check_chosen_for(validation: FinishedSearch, test: FinishedSearch) -> None:
    """Raises InputError unless settings that are chosen on `validation` are meant for `test`: the same
    models, sampled alike.
    """
    where = f"validation {_names(validation)} and test {_names(test)}"
    for name in test.models.keys() - {ALLOCATION}:
        if validation.models.get(name) != test.models[name]:
            found = validation.models.get(name, "none")
            raise InputError(
                f"{where}: the {name} is {found} and {test.models[name]}; expected the same, for which "
                "settings are chosen"
            )
    ignored = ("problems", *OF_MODELS, *OF_TEST)
    difference = _difference(validation.config, test.config, ignored, (*OF_POLICY, "base_seed"))
    if difference:
        raise InputError(f"{where}: {difference}; expected the same, for which settings are chosen")
    if validation.config.n_samples < test.config.n_samples:
        n, wanted = validation.config.n_samples, test.config.n_samples
        raise InputError(
            f"{where}: n_samples is {n} and {wanted}; expected as many for validation, which chooses "
            "settings for each N"
        )


def _read_shard(folder: Path) -> FinishedSearch:
    for name in ("search.json", "models.json", "config.json"):
        if not (folder / name).is_file():
            raise _missing(folder, name)
    summary, models = SearchSummary.read(folder / "search.json"), read_models(folder)
    config, results = load_yaml(SearchConfig, folder / "config.json"), read_results(folder / "results.jsonl")
    if not results or summary.n_problems != len(results):
        raise InputError(
            f"{folder / 'results.jsonl'}: {len(results)} problems, {summary.n_problems} in search.json; "
            "expected at least one, and the same"
        )
    wanted = {"policy"} | {
        name for name in ("prm", "orm", "revision_model") if getattr(config, name) is not None
    }
    if config.scorer.ensemble:  # of the one scorer that there is, which it is numbered after
        n, name = 1 + len(config.scorer.ensemble), "orm" if config.prm is None else "prm"
        wanted |= {f"{name}.{number}" for number in range(1, n + 1)}
    wanted |= {ALLOCATION} if config.allocation is not None else set()
    if set(models) != wanted:
        raise InputError(
            f"{folder / 'models.json'}: got the ids of {', '.join(sorted(models)) or 'no model'}; expected "
            f"those of {', '.join(sorted(wanted))}, which config.json names"
        )
    for result in results:
        fault = None if result.failure else first_fault(result, config)
        if fault is not None:
            raise InputError(f"{folder / 'results.jsonl'}: problem {result.problem.problem_id} has {fault}")
    return FinishedSearch((folder,), config, models, tuple(results))


def _check_shard(first: FinishedSearch, shard: FinishedSearch) -> None:
    where = f"{_names(first)} and {_names(shard)}"
    for name in sorted(first.models.keys() | shard.models.keys()):
        one, other = (each.models.get(name, "none") for each in (first, shard))
        if one != other:
            raise InputError(f"{where}: the {name} is {one} and {other}; expected shards of one search")
    difference = _difference(first.config, shard.config, OF_MODELS, OF_POLICY)
    if difference:
        raise InputError(f"{where}: {difference}; expected shards of one search")


def _difference(
    first: SearchConfig, second: SearchConfig, ignored: Iterable[str], of_policy: Iterable[str]
) -> str | None:
    """The first setting in which two searches differ, but for those ignored (some of the policy's, too) and
    the selection of problems.
    """
    one, other = dump_config(first), dump_config(second)
    for name in ignored:
        one[name] = other[name]
    one["scorer"]["ensemble"] = other["scorer"]["ensemble"]  # as OF_MODELS
    for section, names in (("problems", SELECTION), ("policy", of_policy)):
        one[section] = {**one[section], **{name: other[section][name] for name in names}}
    return first_difference(SearchConfig, one, other)


def _missing(folder: Path, name: str) -> InputError:
    return InputError(
        f"{folder}: no finished search there: it holds no {name}; expected the output folder of `prm-train "
        "search`"
    )


def _names(search: FinishedSearch) -> str:
    return ",".join(map(str, search.folders))
