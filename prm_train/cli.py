"""`prm-train`: the commands of the pipeline under one name. A command's module is imported when it runs, so
that help answers at once.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from data_gen.process.early_signals import heed

# In pipeline order: what it does in one line, and the module, which also runs as `python -m module` (or
# `accelerate launch -m module`).
COMMANDS = {
    "sample": ("data_gen.sample", "draw solutions of problems from a policy and grade them"),
    "grade": ("data_gen.grade", "grade model outputs in a file: verdicts, pass@k, rows for an ORM"),
    "label": ("data_gen.label", "value the steps of solutions by Monte Carlo rollouts"),
    "ledger": ("data_gen.ledger_command", "count, check, merge or export ledgers of draws"),
    "consensus": (
        "data_gen.consensus_command",
        "keep the labeled solutions whose first error a judge confirms",
    ),
    "build": ("data_gen.build", "turn graded and labeled solutions into training rows"),
    "convert": ("data_gen.convert", "step labels from one public format into another"),
    "convert-config": ("prm_train.convert_config", "a config for train-prm from one of TRL's PRMTrainer"),
    "publish-data": (
        "data_gen.publish_data",
        "write training rows as a dataset with a card, and push it to the Hub",
    ),
    "publish-candidates": (
        "data_gen.publish_candidates",
        "write sampled solutions as a frozen file that any scorer is measured on",
    ),
    "estimate-memory": ("prm_train.estimate_memory", "what a training will take on each GPU"),
    "train-policy": (
        "prm_train.train_policy",
        "train a policy on solutions (SFT): of a data set, its own, or those that a search found",
    ),
    "train-prm": ("prm_train.train_prm", "train a process reward model on step values"),
    "train-orm": ("prm_train.train_orm", "train an outcome reward model on verdicts"),
    "train-implicit-prm": (
        "prm_train.train_implicit_prm",
        "train an implicit PRM: step rewards from verdicts, as log-ratios",
    ),
    "train-verifier": (
        "prm_train.train_verifier",
        "train a generative verifier, which says Yes or No after each step",
    ),
    "train-revision": ("prm_train.train_revision", "train a model that revises its attempts"),
    "grpo": (
        "prm_train.grpo",
        "train a policy by TRL's GRPO on verdicts, an ORM's scores and credit for steps",
    ),
    "train-score": (
        "prm_train.train_score",
        "train a policy to correct its attempts by reinforcement learning (SCoRe)",
    ),
    "publish": (
        "prm_train.publish",
        "write a scorer as a folder that loads anywhere, with a card, and push it to the Hub",
    ),
    "verify-export": (
        "prm_train.verify_export",
        "compare the scores of a checkpoint in transformers and in vLLM",
    ),
    "calibrate": ("prm_train.calibrate", "make a scorer's scores probabilities, on held-out questions"),
    "search": (
        "prm_train.search.run",
        "search with a policy and a scorer: majority, best-of-N, beam search, particle filter",
    ),
    "solve": ("prm_train.search.solve_questions", "answer questions with a policy and a scorer"),
    "show-tree": ("prm_train.search.show_tree", "draw what a search in a tree did as a page"),
    "score": ("prm_train.search.score_rows", "score the steps of solutions in a file"),
    "estimate-difficulty": (
        "prm_train.estimate_difficulty",
        "how hard problems are for a policy: measured, and predicted from few draws or the prompt",
    ),
    "allocate": (
        "prm_train.allocation.allocate",
        "choose by difficulty which method with which N answers, and what that saves",
    ),
    "route": (
        "prm_train.route",
        "learn which questions one sample answers and which get a search: router.json for solve and serve",
    ),
    "compare-sizes": (
        "prm_train.allocation.compare_sizes",
        "a small policy that searches against a larger one, at equal FLOPs with pretraining",
    ),
    "evaluate": ("prm_train.evaluation.evaluate", "compare methods with intervals and write the report"),
    "report": ("prm_train.report", "compare two runs, or write the figures of a report as files"),
    "benchmark": (
        "prm_train.benchmarking.benchmark",
        "measure any scorer: ProcessBench, PRMBench, best-of-N, pairs, labelled steps",
    ),
    "serve-policy": ("data_gen.serve_policy", "serve a policy over HTTP for other processes to draw from"),
    "serve": (
        "prm_train.serve",
        "serve answers by search, and scores of steps, over HTTP: what OpenAI's clients speak",
    ),
    "launch": (
        "prm_train.launch",
        "run sample, label, search or score in shards: processes, Ray, datatrove, Slurm",
    ),
    "quickstart": ("prm_train.quickstart", "run all of the above on the built-in task"),
}


def main(argv: Sequence[str] | None = None) -> None:
    if argv is None:  # this process is the command, and not a caller's
        heed()
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(usage())
    elif command == "--version":
        from importlib.metadata import version

        print(f"prm-train {version('prm-train')}")
    elif command in COMMANDS:
        run(command, arguments[1:])
    else:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
        sys.stderr.write(f"prm-train: error: no command {command!r}; {hint}\n")
        raise SystemExit(2)


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}} {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: prm-train COMMAND [--config file.yaml] [--key value …]",
            "",
            "The commands in the order of the pipeline:",
            *lines,
            "",
            "prm-train COMMAND --help lists a command's settings; prm-train --version prints the version.",
        ]
    )


def run(command: str, arguments: Sequence[str]) -> None:
    from data_gen.settings.parse import run_command

    run_command(lambda: importlib.import_module(COMMANDS[command][0]).main(arguments), f"prm-train {command}")


if __name__ == "__main__":
    main()
