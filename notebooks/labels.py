"""Where is the first error of a wrong solution? Rollouts say it, and here the truth is known:
`marimo edit notebooks/labels.py`.
"""

import marimo

app = marimo.App()


@app.cell
def _():
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import marimo as mo

    from data_gen.files.run_folder import read_records
    from data_gen.problems.tasks import DEFAULT_TASK
    from data_gen.records.first_error import first_error
    from data_gen.records.solutions import LabeledSolution, Problem

    def prm_train(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "prm_train.cli", *arguments], check=True, capture_output=True)

    return DEFAULT_TASK, LabeledSolution, Path, Problem, first_error, mo, prm_train, read_records, tempfile


@app.cell
def _(Path, mo, prm_train, tempfile):
    run = Path(tempfile.mkdtemp()) / "run"
    sampled = "sample --problems.n 8 --n_samples 4 --max_new_tokens 160 --policy.model base"
    prm_train(*sampled.split(), "--output", str(run))
    mo.md(f"`prm-train {sampled}`: four solutions of each of 8 problems of the built-in task, graded.")
    return (run,)


@app.cell
def _(DEFAULT_TASK, LabeledSolution, Problem, first_error, prm_train, read_records, run):
    questions = {each.problem_id: each.question for each in read_records(run / "problems.jsonl", Problem)}

    def true_error(labeled: LabeledSolution) -> int | None:
        solution = labeled.graded.solution
        return first_error(DEFAULT_TASK.step_truth(questions[solution.problem_id], solution.text))

    def wrong_ones(*settings: str) -> list[LabeledSolution]:
        prm_train("label", "--run", str(run), *settings)
        found = read_records(run / "labels.jsonl", LabeledSolution)
        return [each for each in found if not each.graded.verdict.is_correct]

    return questions, true_error, wrong_ones


@app.cell
def _(mo, questions, true_error, wrong_ones):
    every_step = wrong_ones("--method", "every_step", "--n_rollouts", "8")
    shown = max(every_step, key=lambda each: len(each.steps))
    rows = [
        f"| {step} | {each.n_correct} of {each.n_rollouts} |" if each.n_rollouts else f"| {step} | (end) |"
        for step, each in zip(shown.steps, shown.estimates, strict=True)
    ]
    question = questions[shown.graded.solution.problem_id]
    mo.md(
        f"**Eight rollouts after every step** of a wrong solution of *{question}*, and how many of them end "
        f"right. Its first wrong step is truly number {(true_error(shown) or 0) + 1}.\n\n"
        "| step | right |\n|---|---|\n" + "\n".join(rows)
    )
    return


@app.cell
def _(first_error, mo, true_error, wrong_ones):
    def _row(method: str, *settings: str) -> str:
        found = wrong_ones("--method", method, *settings)
        n_exact = sum(first_error(each.labels) == true_error(each) for each in found)
        n_rollouts = sum(step.n_rollouts for each in found for step in each.estimates)
        words = " ".join((method, *settings))
        return f"| {words} | {n_exact} of {len(found)} | {n_rollouts / len(found):.1f} |"

    mo.md(
        "**Searching is cheaper than asking after every step.** First errors named exactly, and rollouts a "
        "solution:\n\n| method | exact | rollouts |\n|---|---|---|\n"
        + "\n".join(
            (
                _row("every_step", "--n_rollouts", "8"),
                _row("first_error", "--n_rollouts", "2"),
                _row("first_error", "--n_rollouts", "8"),
                _row("posterior"),
            )
        )
    )
    return


if __name__ == "__main__":
    app.run()
