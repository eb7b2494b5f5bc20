"""The README.md of a published dataset: what it holds, how it was made and what its labels mean, all from
`DatasetFacts`.

Sentences stand in `card.md.jinja`; here are words for the names that rows and runs use, and how rows and
settings are shown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_gen.problems.tasks import TASKS, task_of
from data_gen.publishing.facts import DatasetFacts, RunFacts

KIND_WORDS = {  # what such rows train, and what one of them is
    "prm": ("process reward models", "a solution in steps, with a label for each step"),
    "orm": ("outcome reward models", "a whole solution and whether its answer is right"),
    "orm_pairs": (
        "outcome reward models",
        "a solution whose answer is right beside one whose answer is wrong",
    ),
    "orm_history": (
        "outcome reward models",
        "a solution after earlier attempts, and whether its answer is right",
    ),
    "revision": ("revision models", "earlier attempts at a problem, then a right solution"),
    "distill": ("policies", "a question and a solution to learn"),
}
KIND_TAGS = {
    "prm": "process-reward-model",
    "orm": "outcome-reward-model",
    "revision": "self-correction",
    "distill": "distillation",
}
WRITTEN_KINDS = {"revision", "distill"}  # such rows teach to write, the others to judge
COLUMN_WORDS = {  # by kind, else for all
    "all": {
        "problem_id": "names the problem; the rows of one problem share it",
        "prompt": "the question",
        "completion": "a solution",
        "label": "whether the answer of the completion is right",
        "n_attempts": "how many earlier attempts the prompt shows",
        "question": "the question alone; the first turn of the prompt may say more",
        "sample_indices": "which draws of the policy these are: the attempts as shown, then the completion",
    },
    "prm": {
        "completions": "the steps of a solution, in order, without the separator",
        "labels": "for each step: true, false, or null where nothing is known",
        "n_correct": "for each step: how many of the rollouts from its end were right",
        "n_rollouts": "for each step: how many rollouts were drawn from its end",
        "n_unknown": "for each step: how many of the rollouts got no verdict or were cut",
        "stopping": "for each step: when the drawing of rollouts stopped",
        "method": "for each step: where its label comes from",
        "low": "for each step: lower end of the 95 % interval of its value",
        "high": "for each step: upper end of that interval",
    },
    "orm": {},
    "orm_pairs": {
        "chosen": "a solution whose answer is right",
        "rejected": "a solution whose answer is wrong",
    },
    "orm_history": {
        "prompt": "a chat: the question and the earlier attempts",
        "completion": "a chat turn: the solution that is judged",
    },
    "revision": {
        "prompt": "a chat: the question and the earlier attempts",
        "completion": "a chat turn: a solution whose answer is right",
        "kind": "revision (all earlier attempts are wrong), first_attempt (there are none) or keep (the last "
        "one is right)",
        "edit_distance": "characters between the last wrong attempt and the completion; null where there is "
        "none",
    },
    "distill": {
        "source": "the method that gave the solution: samples, or a search in a tree",
        "score": "the verifier's score that it was chosen by; null where none was read",
        "verdict": "what is known of its answer: correct, incorrect or unknown; it may have been chosen "
        "without looking",
    },
}
METHOD_WORDS = {
    "rollouts": "rollouts were drawn from the end of the step",
    "witness": "a right solution or rollout runs through the step, so no more were needed",
    "terminal": "the last step: the verdict on the solution itself",
    "none": "not probed",
}
STOPPING_WORDS = {
    "fixed": "always the full number",
    "first_success": "until one was right",
    "sequential": "until a sequential test had decided",
    "interval": "until the interval of the value was narrow enough",
    "posterior": "where they told most of the place of the first error",
}
LABELING_WORDS = {
    "first_error": "binary search for the first step after which no rollout is right. Steps before it are "
    "true, it is false, and what "
    "follows has no label, because nothing defines what a step after an error is worth",
    "every_step": "rollouts after every step, which is true if any of them is right",
    "sequential": "search for the first error, with a sequential test of whether a step destroyed most of "
    "the value before it",
    "posterior": "search for the first error, with rollouts where they tell most, until one place is likely "
    "enough",
    "omega": "OmegaPRM (Luo et al. 2024): a tree of rollouts, each wrong one searched for its first error",
}
POLICY_WORDS = {
    **{
        task.policy: f"`{task.policy}`, the small language model for the built-in {task.source} task that "
        "ships with prm-train"
        for task in TASKS.values()
    },
    "simulated": "`simulated`, an exact simulation that stands in for a language model in tests",
}


@dataclass(frozen=True)
class Publication:
    """What its author says of a dataset. `location` is what `load_dataset` takes: 'user/name' on the Hub, or
    './folder'.
    """

    title: str
    license: str
    location: str
    problems: str | None = None  # what the problems are and whose; None: the name of their source
    languages: tuple[str, ...] = ("en",)


def render(facts: DatasetFacts, publication: Publication) -> str:
    """The card as Markdown with YAML front matter. A function of the facts alone: two calls give the same
    text.
    """
    environment = Environment(
        loader=PackageLoader("data_gen.publishing", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {
        "fenced": fenced,
        "cell": cell,
        "share": share,
        "show_row": show_row,
        "show_text": json.dumps,
        "yaml": to_yaml,
    }
    environment.filters |= {**filters, "count": count, "code": code, "verdict": verdict}
    return environment.get_template("card.md.jinja").render(
        front_matter=to_yaml(front_matter(facts, publication)),
        facts=facts,
        publication=publication,
        total=sum(kind.n_rows for kind in facts.kinds),
        kind_words=KIND_WORDS,
        column_words=COLUMN_WORDS,
        method_words=METHOD_WORDS,
        stopping_words=STOPPING_WORDS,
        labeling_words=LABELING_WORDS,
        policy_words=POLICY_WORDS,
        purpose=purpose(facts),
        problem_source=problem_source,
        is_any_success=is_any_success(facts),
        commands=commands(facts, publication) if facts.runs else "",
        sample_file=sample_file,
        left_out=left_out(facts),
        version=version("prm-train"),
    )


def front_matter(facts: DatasetFacts, publication: Publication) -> dict[str, Any]:
    """What the Hub reads: license, search tags, and which files make which split of which configuration."""
    kinds = [kind.kind for kind in facts.kinds]
    tasks = ["text-classification"] * any(kind not in WRITTEN_KINDS for kind in kinds)
    tasks += ["text-generation"] * any(kind in WRITTEN_KINDS for kind in kinds)
    return {
        "license": publication.license,
        "language": list(publication.languages),
        "pretty_name": publication.title,
        "task_categories": tasks,
        "tags": [
            "prm-train",
            *dict.fromkeys(KIND_TAGS[kind.split("_")[0]] for kind in kinds),
            "monte-carlo-rollouts",
            "reasoning",
        ],
        "size_categories": [size_category(sum(kind.n_rows for kind in facts.kinds))],
        "configs": [
            {
                "config_name": kind.kind,
                "data_files": [
                    {"split": split.name, "path": f"{kind.kind}/{split.name}-*.parquet"}
                    for split in kind.splits
                ],
            }
            | ({"default": True} if kind is facts.kinds[0] else {})
            for kind in facts.kinds
        ],
    }


def size_category(n_rows: int) -> str:
    """The Hub's name for this many rows."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M")]
    below = "n<1K"
    for (bound, name), (_, following) in zip(bounds, [*bounds[1:], (0, "1B")], strict=True):
        if n_rows >= bound:
            below = f"{name}<n<{following}"
    return below


# --- how things are shown


def verdict(name: str) -> str:
    """'unknown:truncated' in words."""
    kind, _, reason = name.partition(":")
    return f"{kind} ({reason})" if reason else kind


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def cell(text: object) -> str:
    """Text for a cell of a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """A span of code; empty text stays empty."""
    return f"`{text}`" if text else ""


def count(number: int, noun: str = "") -> str:
    """1 row, 2,000 rows."""
    return f"{number:,}" + (f" {noun}{'s' * (number != 1)}" if noun else "")


def share(part: int, whole: int) -> str:
    """'12 of 48 (25 %)'."""
    return f"{part:,} of {whole:,}" + (f" ({100 * part / whole:.3g} %)" if whole else "")


def show_row(row: Mapping[str, Any]) -> str:
    """A row as JSON, one column a line, long lists of texts one item a line."""
    lines = []
    for name, value in row.items():
        text = json.dumps(value, ensure_ascii=False)
        if (
            isinstance(value, tuple | list)
            and len(text) > 100
            and not all(isinstance(item, bool | int | float | None) for item in value)
        ):
            text = (
                "[\n" + ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in value) + "\n  ]"
            )
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


class _BlockDumper(yaml.SafeDumper):
    """Texts of several lines as blocks, which a person can read."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text.strip("\n") else None
    )


_BlockDumper.add_representer(str, _represent_text)


def to_yaml(value: object) -> str:
    return str(yaml.dump(value, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=120))


def purpose(facts: DatasetFacts) -> str:
    """'process reward models, outcome reward models and revision models'."""
    *most, last = dict.fromkeys(KIND_WORDS[kind.kind][0] for kind in facts.kinds)
    return f"{', '.join(most)} and {last}" if most else last


def is_any_success(facts: DatasetFacts) -> bool:
    """Whether a true label means that a rollout was right, and a false one that none was; a build may read
    the counts another way.
    """
    methods = {run.labeling.get("method") for run in facts.runs if run.labeling}
    threshold = facts.build.config.get("labels", {}).get("hard_threshold")
    return bool(methods) and methods <= {"first_error", "every_step", "omega"} and not threshold


def problem_source(run: RunFacts) -> str:
    """What the problems are called where the author gives no name."""
    problems = run.sampling.get("problems", {})
    split, seed = problems.get("split"), problems.get("seed")
    source = problems.get("source", "unknown")
    task = task_of(source)
    if task:
        return f"{task.title}, the task that is built into prm-train (split {split or 'train'}, seed {seed})"
    return f"`{source}`" + (f", split {split}" if split else "")


def commands(facts: DatasetFacts, publication: Publication) -> str:
    """The commands that made the rows; their settings are in sample.yaml and build.yaml."""
    lines = []
    for number, run in enumerate(facts.runs, 1):
        config = sample_file(facts, number)
        settings = "".join(f" --{name} {value}" for name, value in run.labeling.items())
        for folder, sampled, shard in zip(run.folders, run.sampled, run.shards, strict=True):
            command = "search" if run.search else "sample"
            lines.append(
                f"prm-train {command} --config {config} --output {sampled}"
                + (f" --problems.shard {shard}" if shard else "")
            )
            lines += [f"prm-train label --run {sampled}{settings}"] * bool(settings)
            if run.judged:
                lines.append(
                    f"prm-train consensus --run {sampled} --output {folder}  # judge: {run.judged.judge}"
                )
    folders = ",".join(folder for run in facts.runs for folder in run.folders)
    config = "--config build.yaml " if facts.build_settings else ""
    lines.append(f"prm-train build {config}--runs {folders} --output rows")
    lines.append(f"prm-train publish-data --rows rows --license {publication.license} --output dataset")
    return "\n".join(lines)


def sample_file(facts: DatasetFacts, number: int) -> str:
    """What the `number`-th group of runs (from 1) calls its settings."""
    name = "search" if facts.runs[number - 1].search else "sample"
    return f"{name}.yaml" if len(facts.runs) == 1 else f"{name}-{number}.yaml"


def left_out(facts: DatasetFacts) -> list[tuple[str, str, int]]:
    """(kind, reason, how many solutions) of what `prm-train build` left out."""
    built = [(kind.kind, summary) for kind in facts.kinds if (summary := facts.build.kind(kind.kind))]
    return [(kind, *item) for kind, summary in built for item in summary.left_out.items()]
