"""What thinking longer, shorter or calmer is worth to a policy that thinks, on a variant of the built-in task
(docs/thinking.md).

`python -m benchmarks.thinking run --output runs/thinking/seed-0 --seed 0` makes one seed; an interrupted run
goes on. `… collect FOLDERS` makes benchmarks/results/thinking.json and docs/thinking_figures.md.
"""

import argparse
import json
import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.thinking.plan import ThinkingConfig
from benchmarks.thinking.texts import draw_text
from data_gen.files.jsonl import write_text
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.process.machine import shown_path
from data_gen.records.draw_keys import derive_seed
from data_gen.rows.layouts import OrmRow, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
FIGURES, PAGE = ROOT / "benchmarks" / "results" / "thinking.json", ROOT / "docs" / "thinking_figures.md"


def run(config: ThinkingConfig) -> None:
    """Raises InputError where a run goes on in the folder, or the training is refused."""
    claim_run(config.output, config, is_begun=(config.output / "rows.jsonl").exists())
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run goes on there, or a process of a killed one is ending")
        if not (config.output / "rows.jsonl").exists():
            write_rows(config.output / "rows.jsonl", thinking_rows(config))
        train(config)
        draw(config)


def thinking_rows(config: ThinkingConfig) -> list[OrmRow]:
    """Texts to be imitated, mistakes included, as the base policy's own are: "label" says learn this. None of
    them is a question of the validation or test problems.
    """
    from data_gen.problems.sources import ProblemSource, load_problems

    held_out = {
        problem.question
        for split in ("validation", "test")
        for problem in load_problems(ProblemSource(split=split, n=config.n_problems, seed=config.seed))
    }
    rng, rows = random.Random(derive_seed(config.seed, "thinking")), list[OrmRow]()
    while len(rows) < config.n_texts:
        question, text = draw_text(rng)
        if question not in held_out:
            rows.append(OrmRow(f"thinking-{len(rows):05d}", question, text, label=True))
    return rows


def train(config: ThinkingConfig) -> None:
    from prm_train.train_policy import main as train_policy

    train_policy(
        (
            *("--rows", str(config.output / "rows.jsonl"), "--output", str(config.policy), "--model", "base"),
            *("--n_epochs", "3", "--learning_rate", "1e-3", "--batch_size", "16", "--use_cpu", "true"),
            *("--seed", str(config.seed), "--n_steps_between_saves", "100"),
        )
    )


def draw(config: ThinkingConfig) -> None:
    from benchmarks.thinking.draws import SPLITS, draw_split

    for split in SPLITS:
        path = config.output / f"drawn-{split}.json"
        if not path.exists():
            before = time.process_time()
            drawn = draw_split(config, split)
            drawn.write(path)
            seconds = time.process_time() - before
            logger.info("%s: %d tokens, %.0f CPU seconds", path, drawn.n_generated, seconds)


def collect(folders: Sequence[Path], figures_file: Path, page_file: Path) -> None:
    """Raises InputError where a folder holds no finished run."""
    from benchmarks.thinking.draws import SPLITS, DrawnSplit
    from benchmarks.thinking.figures import figures
    from benchmarks.thinking.page import page

    seeds = [
        {split: DrawnSplit.read(folder / f"drawn-{split}.json").problems for split in SPLITS}
        for folder in folders
    ]
    command = " ".join(("python -m benchmarks.thinking collect", *map(shown_path, folders)))
    n_problems = len(seeds[0]["test"])
    n_draws = len(seeds[0]["test"][0].others)
    facts = {"command": command, "seeds": len(seeds), "n_problems": n_problems, "n_draws": n_draws}
    found = facts | figures(seeds)
    write_text(figures_file, json.dumps(found, indent=1) + "\n")
    write_text(page_file, page(found))
    logger.info("%s", page_file)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thinking", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("run", add_help=False)
    collecting = actions.add_parser("collect", help="figures of several seeds")
    collecting.add_argument("folders", nargs="+", type=Path)
    collecting.add_argument("--figures", type=Path, default=FIGURES)
    collecting.add_argument("--page", type=Path, default=PAGE)
    known, rest = parser.parse_known_args(argv)
    if known.action == "run":
        run(parse_config(ThinkingConfig, rest))
    elif rest:
        raise InputError(f"collect: got {' '.join(rest)}, expected folders, --figures and --page")
    else:
        collect(known.folders, known.figures, known.page)


if __name__ == "__main__":
    run_command(main, "benchmarks.thinking")
