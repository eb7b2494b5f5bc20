"""What a Monte Carlo label is, and what it costs: `marimo edit docs/notebooks/labels.py`."""

import marimo

app = marimo.App(width="medium", app_title="Labels")

with app.setup(hide_code=True):
    import tempfile
    from pathlib import Path

    import marimo as mo
    import numpy as np
    from show import percent, show, table
    from small_prm import DRAWS

    import prm_train
    from data_gen.problems.tasks import step_truth
    from data_gen.records.first_error import NO_ERROR, first_error
    from prm_train.metrics.estimators import bootstrap_interval


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Step labels without anybody labelling

    A process reward model (PRM) judges each step of a solution. To learn that it wants solutions whose
    steps are known to be right or wrong. People can say so, at a price. Here nobody does: all we have is
    problems with **final answers** and a language model, the *policy*, that writes solutions.

    The trick (Math-Shepherd, Wang et al. 2024): to judge the first $t$ steps of a solution, let the policy
    **go on from there** several times. Such a continuation is a *rollout*. The share of rollouts that end
    in the right answer estimates the *value* of the prefix, the probability that the policy still gets
    there:

    $$\hat v_t = \frac{\text{rollouts from step } t \text{ that end right}}{\text{rollouts from step } t}$$

    Where no rollout ends right any more, an error has been made.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Problems, solutions, rollouts

    The built-in task is chains of one-digit operations, and the policy `base` (0.4 million parameters,
    shipped) was taught to make mistakes in them. `prm_train.label` draws four solutions of each problem,
    grades their answers, and draws eight rollouts after every step. The task also says which steps are
    *truly* right. No label uses that; here it shows how good labels are.
    """)
    return


@app.cell
def _():
    policy = prm_train.load_policy("base")
    problems = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=16, seed=1))
    ledger = Path(tempfile.mkdtemp()) / "ledger.sqlite"  # of draws: no call below makes one twice

    every_step = prm_train.label(
        problems, policy, method="every_step", n_rollouts=8, n_samples=4, ledger=ledger, **DRAWS
    )
    return every_step, ledger, policy, problems


@app.cell
def _(every_step):
    _right = [[each.graded.verdict.is_correct for each in labeled.solutions] for labeled in every_step]
    _pass_at_1 = bootstrap_interval([np.mean(each) for each in _right], np.random.default_rng(0))
    show(
        f"**{sum(map(len, _right))} solutions of {len(_right)} problems**, right: {percent(_pass_at_1)}. In "
        "brackets, here and below, is the 95 % interval over problems. Cost of the labels: "
        f"{sum(each.n_rollouts for each in every_step):,} rollouts, "
        f"{sum(each.usage.n_generated for each in every_step):,} generated tokens."
    )
    return


@app.cell
def _(every_step, problems):
    wrong = [
        (problem, each)
        for problem, labeled in zip(problems, every_step, strict=True)
        for each in labeled.solutions
        if not each.graded.verdict.is_correct
    ]
    # One whose error comes in its middle
    _problem, _shown = max(
        wrong,
        key=lambda pair: min(first_error(pair[1].labels), len(pair[1].steps) - first_error(pair[1].labels)),
    )
    _truth = step_truth(_problem, _shown.graded.solution.text)
    _words = {True: "right", False: "**first error**", None: "after it"}
    _rows = [
        (
            f"`{step}`",
            f"{each.n_correct} of {each.n_rollouts}",
            f"{each.low:.2f} to {each.high:.2f}",
            _words[t],
        )
        if each.n_rollouts
        else (f"`{step}`", "end: wrong", "0", _words[t])
        for step, each, t in zip(_shown.steps, _shown.estimates, _truth, strict=True)
    ]
    show(
        f"**One wrong solution** of *{_problem.question}* Right answer: {_problem.gold_answer}.\n\n"
        + table(("after the step", "rollouts that end right", "value, 95 % interval", "in truth"), _rows)
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Eight rollouts say little about the value itself, as the intervals show. But "did *any* rollout end
    right?" is a sharp question: that is the *hard label* of a step. (*Soft* labels train on the share
    itself, and want many more rollouts.)

    ## Searching instead of asking everywhere

    What trains a PRM is where the first error is. If all before it can still end right and nothing after it
    can, a binary search finds it (`first_error`): it asks at a few steps only, and at each it stops at the
    first success. A right solution costs nothing, since it is itself a success that runs through all of its
    steps. (`method="posterior"` spends each rollout where it tells most about the place of the error.)
    """)
    return


@app.cell
def _(ledger, policy, problems):
    def label_by(grader="arithmetic", **method):
        settings = DRAWS | {"grader": grader}
        return prm_train.label(problems, policy, n_samples=4, ledger=ledger, **settings, **method)

    def true_first_error(problem, solution):
        return first_error(step_truth(problem, solution.graded.solution.text))

    def exactness(labeled):
        """For each problem the share of its wrong solutions whose located first error is the true one."""
        shares = []
        for problem, outcome in zip(problems, labeled, strict=True):
            found = [
                first_error(each.labels) == true_first_error(problem, each)
                for each in outcome.solutions
                if not each.graded.verdict.is_correct
            ]
            shares += [np.mean(found)] if found else []
        return bootstrap_interval(shares, np.random.default_rng(0))

    return exactness, label_by, true_first_error


@app.cell
def _(exactness, label_by):
    _methods = {
        "every_step, 8 rollouts": {"method": "every_step", "n_rollouts": 8},
        "first_error, 2 rollouts": {"method": "first_error", "n_rollouts": 2},
        "first_error, 4 rollouts": {"method": "first_error", "n_rollouts": 4},
        "first_error, 8 rollouts": {"method": "first_error", "n_rollouts": 8},
    }
    _rows = []
    for _name, _settings in _methods.items():
        _labeled = label_by(**_settings)
        _rows.append(
            (
                _name,
                percent(exactness(_labeled)),
                f"{sum(each.n_rollouts for each in _labeled):,}",
                f"{sum(each.usage.n_generated for each in _labeled):,}",
            )
        )
    show(
        "**Wrong solutions whose first error is located exactly**, and what the labels of all "
        "solutions cost, each method by itself:\n\n"
        + table(("method", "exact", "rollouts", "generated tokens"), _rows)
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Labels err in one direction more than in the other. A right step is called wrong when all of its few
    rollouts fail, which is likely where the policy is weak; that is why two rollouts locate worse than
    eight. A wrong step is called right only when a rollout **recovers**, or is **lucky**.

    ## Labels are as good as the grader

    Here the answer lists every intermediate value, so luck hardly happens. Graded by the last value alone,
    the same draws would look different: a wrong step can end in the right last digit.
    """)
    return


@app.cell
def _(label_by, problems, true_first_error):
    def _row(name, grader):
        labeled = label_by(grader, method="first_error", n_rollouts=8)
        pairs = [
            (p, each) for p, outcome in zip(problems, labeled, strict=True) for each in outcome.solutions
        ]
        erroneous = [(p, each) for p, each in pairs if true_first_error(p, each) != NO_ERROR]
        n_passed = sum(each.graded.verdict.is_correct for _, each in erroneous)
        n_exact = sum(first_error(each.labels) == true_first_error(p, each) for p, each in erroneous)
        return name, f"{len(erroneous)}", f"{n_passed}", f"{n_exact}"

    show(
        table(
            ("what is graded", "solutions with a wrong step", "of them called right", "first error exact"),
            [_row("the whole answer", "arithmetic"), _row("its last value", "arithmetic_last_value")],
        )
        + "\n\nSo look at solutions that your grader calls right before you train on its labels "
        "(`prm-train label --run … --show 3`)."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    **Next:** `prm.py` trains a PRM on such labels. The same from a shell, resumable and of any size:
    `prm-train sample` and `prm-train label`. The formulas: `docs/method.md`.
    """)
    return


if __name__ == "__main__":
    app.run()
