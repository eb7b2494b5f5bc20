"""How to read intervals and calibration, on figures whose truth is known: `marimo edit
docs/notebooks/evaluation.py`.
"""

import marimo

app = marimo.App(width="medium", app_title="Evaluation")

with app.setup(hide_code=True):
    from functools import partial

    import marimo as mo
    import numpy as np
    from show import interval_words, percent, picture, points, show, table
    from small_prm import DRAWS, small_prm

    import prm_train
    from data_gen.problems.tasks import step_truth
    from prm_train.evaluation.choosers import best_by, scorer_scores, vote_by
    from prm_train.evaluation.choosing import accuracies
    from prm_train.evaluation.pictures.plots import reliability_plot
    from prm_train.metrics.calibration import calibrated, fit, quality
    from prm_train.metrics.estimators import bootstrap_interval, paired_difference, reliability_bins
    from prm_train.metrics.many_comparisons import holm_adjusted, sign_flip_p_value
    from prm_train.metrics.ranking import auroc, sigmoid


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # What a number says

    An accuracy on test problems is a guess at the accuracy on **all** problems of the kind. The interval
    beside it says how good a guess. It is easy to compute one that is wrong, so this notebook checks each
    claim where the truth is known: on made-up studies, and on the built-in task. In words, and with
    examples from real runs: `docs/reading_numbers.md`.

    ## The problem is the unit

    Forty problems with sixteen samples each are 640 verdicts. They are not 640 pieces of evidence, since
    samples of a hard problem are all wrong together. Here 400 studies are made up. In each, forty problems
    are drawn whose chances of being solved differ much, and sixteen samples of each; two intervals for
    pass@1 are made. How many of them hold the true pass@1, as 95 % of them should?
    """)
    return


@app.cell
def _():
    def study(rng):
        chances = rng.beta(0.6, 0.9, size=40)  # many problems are nearly always, or nearly never, solved
        return rng.random((40, 16)) < chances[:, None]

    def holds(values, truth, rng):
        found = bootstrap_interval(values, rng, n_resamples=400)
        return found.low <= truth <= found.high, found.high - found.low

    _rng, _truth = np.random.default_rng(0), 0.6 / 1.5
    _studies = [study(_rng) for _ in range(400)]
    _rows = []
    for _unit, _values in (
        ("problems", [each.mean(axis=1) for each in _studies]),
        ("single samples", [each.ravel().astype(float) for each in _studies]),
    ):
        _found = [holds(values, _truth, _rng) for values in _values]
        _rows.append(
            (
                f"resampling {_unit}",
                f"{np.mean([held for held, _ in _found]):.1%}",
                f"{100 * np.mean([width for _, width in _found]):.1f} points",
            )
        )
    show(
        f"**Intervals that hold the truth** ({_truth:.0%}), and their mean width\n\n"
        + table(("interval by", "hold it", "width"), _rows)
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    The narrow interval is the wrong one. All intervals of this project resample problems. (A little below
    95 % is what a bootstrap of so few problems gives.)

    ## Paired differences

    Now real figures: forty test problems, sixteen samples, a PRM.
    """)
    return


@app.cell
def _():
    policy = prm_train.load_policy("base")
    scorer, _words = small_prm(policy)
    problems = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=40, seed=1, split="test"))
    results = prm_train.search_all(problems, policy, scorer, n_samples=16, n_difficulty_draws=0, **DRAWS)
    _written = sum(each.usage.n_generated for each in results)
    _scored = sum(each.scorer_usage.n_new for each in results)
    show(f"The scorer is {_words}. Cost: {_written:,} tokens written, {_scored:,} scored.")
    return (results,)


@app.cell
def _(results):
    def _interval(values):
        return bootstrap_interval(values, np.random.default_rng(0))

    _choosers = (partial(choose, scorer_scores("prm", "min")) for choose in (vote_by, best_by))
    ours, theirs = (accuracies(results, 1.0, choose, 8) for choose in _choosers)
    _paired = paired_difference(ours, theirs, np.random.default_rng(0))
    _apart = _interval(ours), _interval(theirs)
    _loose = _apart[0].low - _apart[1].high, _apart[0].high - _apart[1].low
    show(
        f"By a vote that the PRM weighs eight samples solve {percent(_apart[0])}, by its favourite alone "
        f"{percent(_apart[1])}. From these two intervals alone the difference could be "
        f"{100 * _loose[0]:.0f} to {100 * _loose[1]:.0f} points. Within each problem it is "
        f"{points(_paired)} points: what makes a problem hard for both drops out."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Many comparisons, and cells that all agree

    Forty methods that are all exactly as good as the baseline, compared with it one by one. And a cell of
    twenty problems that are all solved, of which a bootstrap would say that no other problem can fail.
    """)
    return


@app.cell
def _():
    _rng = np.random.default_rng(1)
    _noise = _rng.normal(0, 0.1, size=(40, 100))  # the differences on a hundred problems
    _p = [sign_flip_p_value(row, np.random.default_rng(0), n_flips=2000) for row in _noise]
    _holm = holm_adjusted(_p)
    _cell = bootstrap_interval(np.ones(20), np.random.default_rng(0))
    show(
        f"Of forty differences that are nothing but noise, {sum(p < 0.05 for p in _p)} have p < 0.05; the "
        f"smallest is {min(_p):.4f}. Corrected by Holm's rule {sum(p < 0.05 for p in _holm)} have, and the "
        f"smallest is {min(_holm):.2f}. "
        'Reports say "beats" by the corrected p.\n\n'
        f"Twenty of twenty solved: {_cell.low:.0%} to {_cell.high:.0%} (Wilson's interval)."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Ranking and meaning are two things

    A scorer **ranks** well when right steps score above wrong ones (AUROC). It is **calibrated** when of
    the steps that score 0.8, 80 % are right. Best-of-N needs the first alone. A weighted vote, a threshold
    and an early stop read the score as a probability, and need the second.
    """)
    return


@app.cell
def _(results):
    steps = [  # (problem, score, is the step right?) of every step up to the first error
        (number, score, truth)
        for number, result in enumerate(results)
        for each in result.scored
        for score, truth in zip(each.scores["prm"], step_truth(result.problem, each.text), strict=True)
        if truth is not None
    ]
    _, scores, truths = map(np.array, zip(*steps, strict=True))
    picture(reliability_plot(reliability_bins(scores, truths)))
    return scores, steps, truths


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Each dot is a bin of scores, its height the share of the steps in it that are truly right. Below the
    diagonal the PRM is too sure, above it not sure enough. *ECE* is the mean distance to the diagonal,
    weighted by the bars; *Brier* the mean squared distance of score and outcome.

    A **temperature** fitted by maximum likelihood, $\sigma(a z)$, mends what it can: on half of the
    problems it is fitted, on the other half measured. It cannot change the order of scores.
    """)
    return


@app.cell
def _(scores, steps, truths):
    _logits = np.log(np.clip(scores, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(scores, 1e-6, 1 - 1e-6))
    _is_fitted = np.array([number % 2 == 0 for number, _, _ in steps])
    _targets, _held_out = truths.astype(float), ~_is_fitted
    calibration = fit(_logits[_is_fitted], _targets[_is_fitted], np.ones(_is_fitted.sum()), "temperature")
    _share = _targets[_is_fitted].mean()
    _constant = np.full(_held_out.sum(), np.log(_share / (1 - _share)))

    def _row(name, logits):
        found = quality(logits, _targets[_held_out])
        area = auroc(sigmoid(logits), truths[_held_out])
        return name, f"{area:.3f}", f"{found.ece:.3f}", f"{found.brier:.3f}", f"{found.log_loss:.3f}"

    _numbers = np.array([number for number, _, _ in steps])[_held_out]

    def _brier_by_problem(logits):
        errors = (sigmoid(logits[_held_out]) - _targets[_held_out]) ** 2
        return [errors[_numbers == number].mean() for number in np.unique(_numbers)]

    _before, _after = map(_brier_by_problem, (_logits, calibrated(_logits, calibration)))
    _gain = paired_difference(_before, _after, np.random.default_rng(0))
    show(
        f"On the {_held_out.sum():,} steps of the other half, with scale a = {calibration.scale:.2f}\n\n"
        + table(
            ("score", "AUROC", "ECE", "Brier", "log loss"),
            [
                _row("as trained", _logits[_held_out]),
                _row("with temperature", calibrated(_logits[_held_out], calibration)),
                _row(f"always {_share:.2f}", _constant),
            ],
        )
        + f"\n\nThe Brier score falls by {interval_words(_gain)}, a mean over problems, paired. The last row "
        "says the same of every step, the share of right ones. It is nearly calibrated, can beat a PRM that "
        "is too sure in all columns but the first, and knows nothing: read the others beside an AUROC."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    **From a shell:** `prm-train evaluate` makes a report with all of this, `prm-train calibrate` fits a
    checkpoint to rows, `prm-train benchmark` measures any scorer. What no interval here says: how another
    *training* would have come out. Ask of a comparison of two recipes how many seeds it rests on.
    """)
    return


if __name__ == "__main__":
    app.run()
