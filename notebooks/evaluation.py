"""What the numbers of a report say, on made-up results whose truth is known: `marimo edit
notebooks/evaluation.py`. docs/reading_numbers.md says it in words, with examples from real runs.
"""

import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    import numpy as np

    from prm_train.metrics.estimators import block_accuracy, bootstrap_interval, paired_difference
    from prm_train.metrics.many_comparisons import holm_adjusted, sign_flip_p_value
    from prm_train.metrics.subsets import pass_at_k

    return (
        block_accuracy,
        bootstrap_interval,
        holm_adjusted,
        mo,
        np,
        paired_difference,
        pass_at_k,
        sign_flip_p_value,
    )


@app.cell
def _(mo, np):
    n_problems, n_draws = 100, 64
    rng = np.random.default_rng(0)
    chances = rng.beta(0.6, 0.9, size=n_problems)  # of one draw to be right: problems differ much
    draws = rng.random((n_problems, n_draws)) < chances[:, None]
    mo.md(f"{n_problems} problems with {n_draws} draws each. The true pass@1 is {chances.mean():.3f}.")
    return chances, draws, n_problems, rng


@app.cell
def _(block_accuracy, bootstrap_interval, chances, draws, mo, np, pass_at_k):
    def _row(k: int) -> str:
        of_blocks = [block_accuracy(row.tolist(), k, any) for row in draws]
        of_subsets = [pass_at_k(len(row), int(row.sum()), k) for row in draws]
        truth = (1 - (1 - chances) ** k).mean()
        shown = bootstrap_interval(of_blocks, np.random.default_rng(0))
        return (
            f"| {k} | {truth:.3f} | {shown.mean:.3f} ({shown.low:.3f} to {shown.high:.3f}) | "
            f"{np.mean(of_subsets):.3f} |"
        )

    mo.md(
        "**pass@k**, true, by disjoint blocks with the interval over problems, and by all subsets. The "
        "interval is about other problems, not about these draws:\n\n"
        "| k | truth | blocks | subsets |\n|---|---|---|---|\n" + "\n".join(map(_row, (1, 4, 16, 64)))
    )
    return


@app.cell
def _(bootstrap_interval, chances, mo, np, paired_difference, rng):
    better = np.clip(chances + 0.03, 0, 1)  # by three points on nearly every problem
    ours = (rng.random((len(chances), 64)) < better[:, None]).mean(axis=1)
    theirs = (rng.random((len(chances), 64)) < chances[:, None]).mean(axis=1)
    alone = [bootstrap_interval(values, np.random.default_rng(0)) for values in (ours, theirs)]
    paired = paired_difference(ours, theirs, np.random.default_rng(0))
    mo.md(
        "**Paired differences.** A method that is better by three points: the two intervals "
        + " and ".join(f"{each.low:.3f} to {each.high:.3f}" for each in alone)
        + f" overlap, the paired difference is {paired.mean:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})."
    )
    return (paired,)


@app.cell
def _(holm_adjusted, mo, n_problems, np, rng, sign_flip_p_value):
    n_compared = 40
    noise = rng.normal(0, 0.1, size=(n_compared, n_problems))  # forty methods that are all as good
    p_values = [sign_flip_p_value(row, np.random.default_rng(0), n_flips=2000) for row in noise]
    corrected = holm_adjusted(p_values)
    mo.md(
        f"**Many comparisons.** Of {n_compared} differences that are nothing but noise the smallest p is "
        f"{min(p_values):.3f}, and {sum(p < 0.05 for p in p_values)} are below 0.05; with Holm's correction "
        f"the smallest is {min(corrected):.3f}, and {sum(p < 0.05 for p in corrected)} are."
    )
    return (corrected,)


@app.cell
def _(bootstrap_interval, mo, np):
    all_right = bootstrap_interval(np.ones(20), np.random.default_rng(0))
    mo.md(
        f"**Cells that all agree.** 20 of 20 right: {all_right.low:.2f} to {all_right.high:.2f} (Wilson), "
        "and not 1.00 to 1.00, as a bootstrap would say."
    )
    return (all_right,)


if __name__ == "__main__":
    app.run()
