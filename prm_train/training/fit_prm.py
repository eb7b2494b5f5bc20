"""`fit_prm`: a PRM from labeled solutions in one call, for notebooks and scripts."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_gen.labeling.problems import Labeled
from data_gen.labeling.views import LabelView
from data_gen.problems.tasks import task_of_problem
from data_gen.records.solutions import Problem
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import PrmRow, write_rows
from data_gen.rows.prm import prm_rows
from prm_train.kinds.load import load_scorer
from prm_train.scoring.protocol import Scorer
from prm_train.training.config import TrainPrmConfig
from prm_train.training.run import run_training
from prm_train.training.scorer_training import PrmTraining

logger = logging.getLogger(__name__)


def fit_prm(
    problems: Sequence[Problem], labeled: Sequence[Labeled], output: Path, *, model: str, **settings: Any
) -> Scorer:
    """A PRM that starts from the language model `model` and learns the labels that `prm_train.label` gave
    these problems' solutions.

    The rows are written to <output>-rows.jsonl beside the folder `output`, which gets the checkpoint and
    training/report.json. `settings` are those of `TrainPrmConfig`. A training that is finished there is not
    made again, one that was broken off goes on. Raises InputError as `run_training` does.
    """
    rows, left_out = list[PrmRow](), Counter[str]()
    for problem, outcome in zip(problems, labeled, strict=True):
        # As `build` has it: only a task of ours compares answers so that no second look is needed
        rule = Filter(second_opinion=task_of_problem(problem) is None)
        of_problem, reasons = prm_rows(problem, outcome.solutions, LabelView(), rule)
        rows += of_problem
        left_out.update(reasons)
    if left_out:
        reasons_counted = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        logger.info("%d rows; left out: %s", len(rows), reasons_counted)
    path = output.with_name(f"{output.name}-rows.jsonl")
    config = TrainPrmConfig(rows=path, output=output, model=model, **settings)
    write_rows(path, rows)
    run_training(PrmTraining(rows, config))
    return load_scorer(str(output))
