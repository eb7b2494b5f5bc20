"""What a search finds, learnt by the policy itself, in two rounds on the built-in task: `make distill`.

The analysis, written before its figures were made; what changed afterwards stands under Deviations.

Question: how much of what 16 samples with a verifier, or a search, find can the policy learn to write at once
(expert iteration, as in AlphaZero, STaR and ReST-EM)? Is a student's search a better teacher than the
policy's was?

Teachers, on training problems that neither policy nor PRM has seen, of a finished quickstart's base policy
and PRM. A question gives one solution, since nearly all right ones of it are one text in this task:

star        any right one of 16 samples: needs gold answers, no verifier
majority    one with the most frequent of 16 answers: needs neither
best        the one of 16 samples that the PRM likes best
vote        the best one of the answer with the highest sum of the PRM's scores among 16
search      the same among the 16 particles of a particle filter

Each arm trains a student from the base policy, with three seeds. Round two of star, vote and search: the
student answers as many further problems in the same way, and a new student learns from the base policy on
both rounds' rows. Its control learns as many rows more of the first teacher, on the same further problems:
what round two has over it is the better teacher, not more data.

Measured on held-out problems that no training saw, each method on the same ones: greedy decoding, one sample
at T = 1 and at T = 0.5 (a student that is only surer than its teacher gains nothing on the base policy at a
low temperature), PRM-weighted best-of-16 and particle filter of 16 with the same PRM, pass@16 (does the
student know more, or fewer, ways?). 95 % intervals over problems and seeds together, with three seeds too
narrow; differences to the base policy and to controls on the same problems. Tokens and FLOPs: of an answer,
and of making the rows and training; after how many questions a student's single sample has repaid its making
against the teacher's search.

Read with a bar (the whole interval of the difference above 0):

1. vote - base, one sample at T = 1 and at T = 0.5: a verifier without gold answers teaches.
2. vote - majority: it is the verifier, not the vote.
3. star - vote: what gold answers add.
4. search - vote: a better teacher makes a better student.
5. round two - its control, for each of the three arms.

Known before: trained on the right ones of four samples of 700 other training problems (644 rows, two epochs,
learning rate 1e-3: the settings used here, the only ones tried), one sample at T = 1 solves 87 % of 150
validation problems, where the base policy solves 38 %. A right solution here is the truth about every step.

Expected: vote and search above majority, which learns the task's frequent errors (misconceptions) as truths;
best worse than vote, since its favourite is often an error that the PRM likes; students' pass@16 below the
base policy's. Of round two a small gain, since the first student has most of what the PRM can tell.

What this cannot show: a teacher that is another, larger model; more than two rounds; a PRM that is trained
again on the student's solutions; tasks in which a right answer does not vouch for the steps.

Deviations: a student alone against its teacher's search was added when the first figures (of one seed and
round one) were there. docs/distillation.md says what came out.

    python -m benchmarks.distill --quickstart runs/quickstart --output runs/distill

Each job is a command of the project, run in this process (starting would take longer than most of them), done
once and noted in OUTPUT/stages; an interrupted run goes on there. Figures go to
benchmarks/results/distill.json.
"""

import gc
import importlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from benchmarks.reproduce.jobs import Command, Job, JobRecord
from data_gen.files.jsonl import write_jsonl
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.models.names import check_inputs
from data_gen.problems.arithmetic.rules import draw_problems
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.aggregation import Aggregation
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config, run_command
from prm_train.quickstart import QuickstartConfig

logger = logging.getLogger(__name__)
RESULT = Path(__file__).parent / "results" / "distill.json"
SAMPLES, FILTER = "samples", "particle_filter"
AGGREGATION: Aggregation = "prod"  # of the PRM's step scores, as in benchmarks/strategies.py
COLD = 0.5
ARMS = {  # what is chosen, of which candidates
    "star": ("correct", SAMPLES),
    "majority": ("majority", SAMPLES),
    "best": ("best", SAMPLES),
    "vote": ("vote", SAMPLES),
    "search": ("vote", FILTER),
}
AGAIN = ("star", "vote", "search")  # the arms of a second round
BASE = "base"


@dataclass(frozen=True)
class DistillConfig:
    """Two rounds of distillation on the policy and the PRM of a finished quickstart."""

    quickstart: Path = field(metadata={"is_input": True, "help": "folder of a quickstart, with its prm"})
    output: Path = field(metadata={"help": "folder for everything that is made", "is_execution": True})
    n_problems: Annotated[int, Ge(1)] = field(
        default=500, metadata={"help": "number of training problems of a round"}
    )
    n_test_problems: Annotated[int, Ge(1)] = field(
        default=300, metadata={"help": "number of held-out problems"}
    )
    split: str = field(default="test", metadata={"help": "split of the held-out problems"})
    n_samples: Annotated[int, Ge(1)] = field(
        default=16, metadata={"help": "samples, and particles of the search"}
    )
    n_seeds: Annotated[int, Ge(1)] = field(
        default=3, metadata={"help": "students of each arm", "may_grow": True}
    )
    n_rounds: Annotated[int, Ge(1), Le(2)] = field(
        default=2,
        metadata={"help": "rounds that are run now; the second can follow later", "is_execution": True},
    )
    n_epochs: float = field(default=2.0, metadata={"help": "epochs of a student"})
    learning_rate: float = field(default=1e-3, metadata={"help": "learning rate of a student"})
    small: bool = field(default=False, metadata={"help": "few problems, to try the command"})
    result: Path = field(default=RESULT, metadata={"help": "file for the figures", "is_execution": True})

    @property
    def made_of(self) -> QuickstartConfig:
        return load_yaml(QuickstartConfig, self.quickstart / "config.json")

    @property
    def prm(self) -> Path:
        return self.quickstart / "prm"

    def folder(self, what: str, name: str) -> Path:
        return self.output / what / name


# --- the jobs


def students(config: DistillConfig) -> Iterator[tuple[str, str, int]]:
    """(name, arm, seed) of every student: `vote-0` of the first round, `vote-again-0` of the second,
    `vote-more-0` of its control.
    """
    for seed in range(config.n_seeds):
        for arm in ARMS:
            yield f"{arm}-{seed}", arm, seed
        for arm in AGAIN if config.n_rounds > 1 else ():
            yield f"{arm}-again-{seed}", arm, seed
            yield f"{arm}-more-{seed}", arm, seed


def jobs(config: DistillConfig) -> list[Job]:
    """In the order in which they begin."""
    found = [
        *(
            Job(f"teacher-{round_}", teach(config, BASE, round_, tuple(ARMS)))
            for round_ in range(1, config.n_rounds + 1)
        ),
        Job("test-base", examine(config, BASE)),
    ]
    for name, arm, seed in students(config):
        first, needs = f"{arm}-{seed}", ["teacher-1"]
        folders = [config.folder("teachers", f"{BASE}-1")]
        if name == f"{arm}-more-{seed}":
            needs.append("teacher-2")
            folders.append(config.folder("teachers", f"{BASE}-2"))
        if name == f"{arm}-again-{seed}":
            found.append(Job(f"teacher-{name}", teach(config, first, 2, (arm,)), (f"train-{first}",)))
            needs.append(f"teacher-{name}")
            folders.append(config.folder("teachers", f"{first}-2"))
        found.append(Job(f"build-{name}", build(config, name, arm, seed, folders), tuple(needs)))
        found.append(Job(f"train-{name}", train(config, name, seed), (f"build-{name}",)))
        found.append(Job(f"test-{name}", examine(config, name), (f"train-{name}",)))
    return found


def search(config: DistillConfig, policy: str, output: Path, n: int, split: str, offset: int) -> Command:
    quickstart = config.made_of
    model = quickstart.policy if policy == BASE else str(config.folder("students", policy))
    return (
        *("prm_train.search.run", "--output", str(output), "--prm", str(config.prm)),
        *("--problems.source", DEFAULT_TASK.source, "--problems.split", split),
        *("--problems.seed", str(quickstart.seed), "--problems.n", str(n)),
        *("--problems.offset", str(offset), "--policy.model", model),
        *("--policy.base_seed", str(quickstart.seed), "--aggregation", AGGREGATION),
        *("--max_new_tokens", str(quickstart.max_new_tokens), "--n_samples", str(config.n_samples)),
        *("--n_difficulty_draws", "0"),
    )


def with_filter(config: DistillConfig) -> Command:
    return "--strategies", FILTER, "--sizes", str(config.n_samples)


def teach(config: DistillConfig, policy: str, round_: int, arms: Sequence[str]) -> Command:
    """Training problems behind those of the PRM, other ones in each round."""
    offset = config.made_of.n_train_problems + (round_ - 1) * config.n_problems
    output = config.folder("teachers", f"{policy}-{round_}")
    command = search(config, policy, output, config.n_problems, "train", offset)
    is_filtered = any(ARMS[arm][1] == FILTER for arm in arms)
    return (*command, *(with_filter(config) if is_filtered else ()))


def examine(config: DistillConfig, policy: str) -> Command:
    output = config.folder("tests", policy)
    command = search(config, policy, output, config.n_test_problems, config.split, 0)
    return (*command, *with_filter(config), "--other_temperatures", str(COLD))


def build(config: DistillConfig, name: str, arm: str, seed: int, folders: Sequence[Path]) -> Command:
    """Of right solutions any are kept, of others the best."""
    choose, method = ARMS[arm]
    return (
        *("data_gen.build", "--runs", ",".join(map(str, folders)), "--kinds", "distill"),
        *("--output", str(config.folder("rows", name)), "--seed", str(seed)),
        *("--distill.choose", choose, "--distill.method", method, "--distill.aggregation", AGGREGATION),
        *("--distill.keep", "random" if arm == "star" else "score", "--distill.max_per_question", "1"),
        *("--contamination.test_sets", f"held_out={config.output / 'held_out.jsonl'}"),
    )


def train(config: DistillConfig, name: str, seed: int) -> Command:
    return (
        *("prm_train.train_policy", "--rows", str(config.folder("rows", name) / "distill.jsonl")),
        *("--output", str(config.folder("students", name)), "--model", config.made_of.policy),
        *("--n_epochs", str(config.n_epochs), "--learning_rate", str(config.learning_rate)),
        *("--batch_size", "16", "--adam_betas", "0.9,0.98", "--lr_schedule", "linear"),
        *("--validation_share", "0", "--seed", str(seed), "--use_cpu", "true"),
    )


# --- the run


def write_held_out(config: DistillConfig) -> None:
    held_out = islice(draw_problems(config.made_of.seed, config.split), config.n_test_problems)
    write_jsonl(config.output / "held_out.jsonl", ({"question": each.question} for each in held_out))


def run_jobs(todo: Sequence[Job], folder: Path) -> None:
    """What is not noted in the folder yet. Seconds are those of the last attempt."""
    import torch

    torch.set_num_threads(1)  # of so small models more wait for each other
    folder.mkdir(exist_ok=True)
    for job in todo:
        file = folder / f"{job.name}.json"
        if file.exists():
            continue
        logger.info("%s", job.name)
        module, *arguments = job.arguments()
        wall, cpu = time.perf_counter(), time.process_time()
        importlib.import_module(module).main(arguments)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        line = " ".join(("python", "-m", module, *arguments))
        JobRecord(job.name, round(spent[0], 1), round(spent[1], 2), line).write(file)
        gc.collect()


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(DistillConfig, argv)
    check_inputs(config)
    if config.small:
        config = replace(config, n_problems=12, n_test_problems=6, n_samples=4, n_seeds=1, n_epochs=1.0)
    claim_run(config.output, config)
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run is under way there, or a process of a killed one ends")
        write_held_out(config)
        run_jobs(jobs(config), config.output / "stages")
        from benchmarks.distill_figures import figures, table

        found = figures(config)
        config.result.parent.mkdir(parents=True, exist_ok=True)
        config.result.write_text(json.dumps(found, indent=1) + "\n")
        print(table(found))


if __name__ == "__main__":
    run_command(main, "distill")
