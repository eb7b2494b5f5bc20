"""What a PRM buys: choosing among samples and searching in a tree: `marimo edit notebooks/search.py`."""

import marimo

app = marimo.App()


@app.cell
def _():
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import marimo as mo

    def run_command(words: str, *more: str) -> str:
        command = [sys.executable, "-m", "prm_train.cli", *words.split(), *more]
        return subprocess.run(command, check=True, capture_output=True, cwd=folder, text=True).stdout

    folder = Path(tempfile.mkdtemp())
    return folder, mo, run_command


@app.cell
def _(mo, run_command):
    made = (
        "sample --output run --problems.n 80 --n_samples 4 --max_new_tokens 160 --policy.model base",
        "label --run run --n_rollouts 4",
        "build --runs run --output rows",
        "train-prm --rows rows/prm.jsonl --output prm --model base --use_cpu true --n_epochs 2 "
        "--learning_rate 1e-3",
    )
    for words in made:
        run_command(words)
    mo.md("A small PRM, as in notebooks/prm.py.")
    return


@app.cell
def _(mo, run_command):
    settings = (
        "--policy.model base --prm prm --n_samples 8 --n_difficulty_draws 4 --max_new_tokens 160 "
        "--strategies particle_filter,beam --sizes 4,8"
    )
    run_command(f"search --output validation --problems.split validation --problems.n 12 {settings}")
    run_command(f"search --output test --problems.split test --problems.n 16 {settings}")
    table = run_command("evaluate --validation validation --test test --output report --prm prm")
    mo.md(
        "**Sixteen test problems**, so every interval is wide. Settings were chosen on twelve others.\n\n"
        f"```\n{table}\n```"
    )
    return (table,)


@app.cell
def _(mo, run_command):
    question = "Start with 4: plus 9, times 6, minus 7."
    asked = "solve --policy.model base --prm prm --grader arithmetic --n 8 --question"
    answer = run_command(asked, question)
    mo.md(
        "**An answer to a question**, with its share of the vote and the scores of its steps:\n\n"
        f"```\n{answer}\n```"
    )
    return (answer,)


if __name__ == "__main__":
    app.run()
