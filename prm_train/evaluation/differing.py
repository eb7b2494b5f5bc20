"""In what two runs differ besides what they solve: facts, settings, how each method was run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prm_train.evaluation.methods import method_label
from prm_train.evaluation.results import RunFacts

ABSENT = "–"
OUTPUT = "output"  # every run has its own


@dataclass(frozen=True)
class Differing:
    """What two runs have otherwise, in words."""

    name: str
    first: str
    second: str


def differing_facts(one: RunFacts, other: RunFacts) -> tuple[Differing, ...]:
    """Task, seed, problems, models, code, day and machine, as far as they differ."""
    return _differing(_facts(one), _facts(other))


def differing_settings(one: str, other: str) -> tuple[Differing, ...]:
    """The settings of two runs, dotted, from the JSON that the reports hold of them; the output folder is
    none.
    """
    return _differing(*(dict(_flat(_settings(text))) for text in (one, other)))


def differing_methods(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[Differing, ...]:
    """How the methods that both runs have were run."""
    shared = [name for name in one if name in other]
    return _differing(*({method_label(name): run[name] for name in shared} for run in (one, other)))


def _facts(run: RunFacts) -> dict[str, str]:
    return {
        "task": run.task,
        "seed": str(run.seed),
        **{f"{split} problems": str(n) for split, n in run.n_problems.items()},
        **run.models,
        "code": run.code or ABSENT,
        "made on": run.date or ABSENT,
        "machine": run.machine,
    }


def _settings(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(text)
    except ValidationError:  # written by hand: one setting
        return {"settings": text}
    return found


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            if name or key != OUTPUT:
                yield from _flat(each, f"{name}.{key}" if name else str(key))
    else:
        is_list = isinstance(value, list)
        yield name, ", ".join(map(str, value)) if is_list else "null" if value is None else str(value)


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[Differing, ...]:
    pairs = ((name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in {**one, **other})
    return tuple(Differing(*pair) for pair in pairs if pair[1] != pair[2])
