"""The PRM of the notebooks: that of `prm.py` where it was run before, or else a smaller one."""

from pathlib import Path

import marimo as mo

import prm_train

FOLDER = Path("runs/notebooks")
DRAWS = {"grader": "arithmetic", "max_new_tokens": 160}
RECIPE = {
    "model": "base",
    "n_epochs": 3.0,
    "learning_rate": 1e-3,
    "lr_schedule": "linear",
    "adam_betas": (0.9, 0.98),
    "batch_size": 8,
    "use_cpu": True,
}


def small_prm(policy: prm_train.Policy) -> tuple[prm_train.Scorer, str]:
    """The scorer, and where it comes from, in words. `-- --prm FOLDER` behind a notebook's name takes another
    one.
    """
    given = mo.cli_args().get("prm")
    for folder in (Path(str(given)),) if given else (FOLDER / "prm", FOLDER / "smaller-prm"):
        if given or (folder / "training/report.json").exists():
            return prm_train.load_scorer(str(folder)), f"the PRM in `{folder}`"
    problems = prm_train.load_problems(prm_train.ProblemSource(n=150, seed=0))
    labeled = prm_train.label(problems, policy, n_rollouts=4, **DRAWS)
    scorer = prm_train.fit_prm(problems, labeled, FOLDER / "smaller-prm", **RECIPE)
    return scorer, "a PRM of 150 problems, trained just now (`prm.py` makes a better one)"
