"""A process reward model, from labels to scores: `marimo edit docs/notebooks/prm.py`."""

import marimo

app = marimo.App(width="medium", app_title="A process reward model")

with app.setup(hide_code=True):
    import time
    from functools import partial
    from typing import get_args

    import marimo as mo
    import numpy as np
    from show import interval_words, show, table
    from small_prm import DRAWS, FOLDER, RECIPE

    import prm_train
    from data_gen.problems.tasks import step_truth
    from prm_train.encoding.aggregation import Aggregation
    from prm_train.evaluation.choosers import scorer_scores
    from prm_train.evaluation.choosing import within_problem_aurocs
    from prm_train.evaluation.facts import step_quality
    from prm_train.metrics.estimators import bootstrap_interval
    from prm_train.metrics.training_report import TrainingReport
    from prm_train.strategies.voting import logprob_scores


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # What a process reward model learns

    A PRM is a language model with one number for a head. It reads the question and the steps, and at the
    end of each step says the probability that all is right **so far**. It never sees the right answer: it
    has to learn what errors look like. The loss at a labelled step $t$ is binary cross-entropy against its
    label (`labels.py` says where that comes from),

    $$-\,y_t \log \sigma(z_t) - (1 - y_t) \log\bigl(1 - \sigma(z_t)\bigr),$$

    and steps after the first error have no label, since nobody can say what right would be there.

    Three calls make one: problems, labels, training. This size takes about a minute of one core, and makes
    a weak PRM. The quickstart uses 2,000 problems and twice the epochs; so does this notebook with `marimo
    edit docs/notebooks/prm.py -- --problems 2000 --epochs 6`.
    """)
    return


@app.cell
def _():
    policy = prm_train.load_policy("base")
    _n = int(mo.cli_args().get("problems") or 300)
    problems = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=_n, seed=0))
    _recipe = RECIPE | {"n_epochs": float(mo.cli_args().get("epochs") or RECIPE["n_epochs"])}

    _started = time.process_time()
    labeled = prm_train.label(
        problems, policy, n_samples=4, n_rollouts=4, ledger=FOLDER / "ledger.sqlite", **DRAWS
    )
    _labels_done = time.process_time()
    scorer = prm_train.fit_prm(problems, labeled, FOLDER / "prm", **_recipe)
    seconds = _labels_done - _started, time.process_time() - _labels_done
    return labeled, policy, scorer, seconds


@app.cell
def _(labeled, scorer, seconds):
    assert scorer.scores_steps
    report = TrainingReport.read(FOLDER / "prm/training/report.json")
    show(
        f"**Labels**: {sum(len(each.solutions) for each in labeled):,} solutions, "
        f"{sum(each.n_rollouts for each in labeled):,} rollouts, "
        f"{sum(each.usage.n_generated for each in labeled):,} generated tokens, "
        f"{seconds[0]:.0f} CPU-seconds. **Training**: "
        f"{report.n_training_rows:,} rows with {report.n_training_labels:,} labelled steps, "
        f"{report.n_steps:,} updates, {report.cost.cpu_seconds:.0f} CPU-seconds. (What was finished "
        f"before in `{FOLDER}` is not done again: now it took {seconds[1]:.0f}.)\n\n"
        f"**On the {report.n_validation_rows} solutions of questions that training did not see**, after each "
        "epoch, against their rollout labels:\n\n"
        + table(
            ("updates", "loss", "step AUROC", "first-error F1", "Brier", "ECE"),
            [
                (
                    f"{each['step']}",
                    *(
                        "–" if each.get(name) is None else f"{each[name]:.3f}"
                        for name in ("loss", "step_auroc", "first_error_f1", "step_brier", "step_ece")
                    ),
                )
                for each in report.validation
            ],
        )
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    *Step AUROC* is the chance that a right step scores above a wrong one; *first-error F1* asks for the
    exact place of the first error; *Brier* and *ECE* ask whether a score of 0.8 means 80 %
    (`evaluation.py`). A loss that rises while AUROC still does is a PRM that ranks better and is too sure.

    ## Does it know anything that the policy does not?

    Fresh problems, 16 solutions each, and now the truth. The fair rival costs nothing: the policy's own
    log-probability of its solution. What counts for choosing among solutions is the AUROC **within** a
    problem; over all problems together a scorer earns points for knowing which questions are easy.
    """)
    return


@app.cell
def _(policy, scorer):
    fresh = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=40, seed=0, split="test"))
    results = prm_train.search_all(fresh, policy, scorer, n_samples=16, n_difficulty_draws=0, **DRAWS)
    return (results,)


@app.cell
def _(results):
    def _auroc(scores):
        areas = within_problem_aurocs(results, 1.0, scores)
        return interval_words(bootstrap_interval(areas, np.random.default_rng(0)))

    _quality = step_quality(results)
    show(
        f"Steps against the truth: AUROC {_quality.auroc:.3f}, Brier {_quality.brier:.3f}. Right above wrong "
        "solutions of the same problem (0.5 is a coin), with the interval over problems:\n\n"
        + table(
            ("one score of a solution", "within-problem AUROC"),
            [
                *(
                    (f"PRM, {how} of its step scores", _auroc(scorer_scores("prm", how)))
                    for how in get_args(Aggregation)
                ),
                ("policy's log-probability", _auroc(partial(logprob_scores, form="sum"))),
            ],
        )
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    With 300 problems the rival wins. The PRM judges *steps* better than a coin, but it has read a few
    hundred problems, four rollouts misplace a good part of its first errors (`labels.py`), and what a whole
    solution is worth needs all of its steps judged well. With the quickstart's 2,000 problems it is 0.90
    against the policy's 0.73 (README, seed 1). Even so a weak judge can help a vote, since it need not be
    right alone: see `search.py`.

    How step scores become one score is a decision of its own. A chain is as strong as its weakest link:
    `min` and `prod` remember an early error, `last` may have forgotten it. Which works best differs between
    tasks and sizes, so `prm-train evaluate` chooses it on validation problems.

    ## Where it objects
    """)
    return


@app.cell
def _(results):
    _pairs = [
        (result.problem, each, step_truth(result.problem, each.text))
        for result in results
        for each in result.scored
        if not each.is_correct and each.is_finished
    ]

    def _drop(pair):
        """By how much the score falls at the first error, of errors in the middle."""
        _, candidate, truth = pair
        place, scores = truth.index(False), candidate.scores["prm"]
        return min(scores[:place]) - scores[place] if 2 <= place < len(scores) - 2 else -1.0

    _words = {True: "right", False: "**first error**", None: "after it"}
    _shown = []
    for _title, _choose in (("An error that it sees", max), ("One that it misses", min)):
        _problem, _candidate, _truth = _choose(
            (each for each in _pairs if False in each[2] and _drop(each) > -1.0), key=_drop
        )
        _rows = [
            (f"`{step}`", f"{score:.2f}", _words[t])
            for step, score, t in zip(
                _candidate.text.split("\n"), _candidate.scores["prm"], _truth, strict=True
            )
        ]
        _heading = f"**{_title}**, in a solution of *{_problem.question}*\n\n"
        _shown.append(show(_heading + table(("step", "score", "in truth"), _rows)))
    mo.vstack(_shown)
    return


@app.cell
def _(results):
    _new = sum(each.scorer_usage.n_new for each in results)
    _reused = sum(each.scorer_usage.n_reused for each in results)
    show(
        f"Scoring these {sum(len(each.scored) for each in results):,} solutions computed {_new:,} tokens and "
        f"read {_reused:,} from the cache: what solutions of a problem share, and what a step has before it, "
        "is computed once."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    **Next:** `search.py` puts this PRM to use. `prm_train.load_scorer("runs/notebooks/prm")` loads it,
    `prm_train.score(question, steps, scorer)` scores a solution of your own. From a shell it is `prm-train
    build` and `prm-train train-prm`; other losses, LoRA and soft labels are settings of it
    (`docs/recipes.md`).
    """)
    return


if __name__ == "__main__":
    app.run()
