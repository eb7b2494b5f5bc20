"""A process reward model, from labels to scores: `marimo edit notebooks/prm.py`."""

import marimo

app = marimo.App()


@app.cell
def _():
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import marimo as mo

    import prm_train
    from data_gen.files.stored_record import read_object
    from data_gen.rows.layouts import PrmRow, read_rows

    def run_command(words: str) -> None:
        command = [sys.executable, "-m", "prm_train.cli", *words.split()]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    folder = Path(tempfile.mkdtemp())
    return PrmRow, folder, mo, prm_train, read_object, read_rows, run_command


@app.cell
def _(mo, run_command):
    made = (
        "sample --output run --problems.n 80 --n_samples 4 --max_new_tokens 160 --policy.model base",
        "label --run run --n_rollouts 4",
        "build --runs run --output rows",
        "train-prm --rows rows/prm.jsonl --output prm --model base --use_cpu true --n_epochs 2 "
        "--learning_rate 1e-3 --validation_share 0.2",
    )
    for _words in made:
        run_command(_words)
    shown = "\n".join(f"prm-train {each}" for each in made)
    mo.md(f"What makes a PRM of problems:\n\n```\n{shown}\n```")
    return


@app.cell
def _(folder, mo, read_object):
    validation = read_object(folder / "prm/training/report.json")["validation"]

    def _shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    names = ("step_auroc", "step_brier", "step_ece", "first_error_f1")
    mo.md(
        "**On questions that training did not see**, after each epoch (a fifth of 80 questions: noisy):\n\n"
        f"| step | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
        + "\n".join(
            f"| {each['step']} | {' | '.join(_shown(each.get(name)) for name in names)} |"
            for each in validation
        )
    )
    return (validation,)


@app.cell
def _(PrmRow, folder, prm_train, read_rows):
    scorer = prm_train.load_scorer(str(folder / "prm"))
    rows = read_rows(folder / "rows/prm.jsonl", PrmRow)
    wrong = next(row for row in rows if False in row.labels and len(row.labels) > 3)
    return rows, scorer, wrong


@app.cell
async def _(mo, scorer, wrong):
    async with scorer.session(wrong.prompt) as tree:
        scores, node = [], tree.root
        for step in wrong.completions:
            node = tree.extend(node, step)
            scores.append(await tree.score(node))
        n_new = tree.usage.n_new
    meaning = {True: "right", False: "first error", None: "after it"}
    mo.md(
        f"**Scores of a wrong solution** of *{wrong.prompt}* (from its training rows), computed in {n_new} "
        "tokens: each step is read once, behind what was read before.\n\n"
        "| step | label | score |\n|---|---|---|\n"
        + "\n".join(
            f"| {step} | {meaning[label]} | {score:.2f} |"
            for step, label, score in zip(wrong.completions, wrong.labels, scores, strict=True)
        )
        + f"\n\nAs one score: min {min(scores):.2f}, last {scores[-1]:.2f}."
    )
    return (scores,)


if __name__ == "__main__":
    app.run()
