"""What a PRM buys: choosing among samples and searching in a tree: `marimo edit docs/notebooks/search.py`."""

import marimo

app = marimo.App(width="medium", app_title="Search")

with app.setup(hide_code=True):
    import marimo as mo
    import numpy as np
    from show import percent, picture, points, show, table
    from small_prm import DRAWS, small_prm

    import prm_train
    from prm_train.evaluation.choosing import choose_settings
    from prm_train.evaluation.comparison import Comparison
    from prm_train.evaluation.pictures.charts import (
        Series,
        axes,
        drawing,
        end_labels,
        line,
        linear_axis,
        log2_axis,
    )
    from prm_train.evaluation.pictures.plots import Layout
    from prm_train.evaluation.pictures.styles import styles_of
    from prm_train.metrics.estimators import paired_difference
    from prm_train.scoring.flops import known_flops
    from prm_train.strategies.voting import best_of, class_of, path_scores, weighted_vote


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # More tries, and a judge

    A policy that is right one time in three can try again. With $N$ samples some are right; which? Three
    ways to choose among whole samples, and two that ask the judge while solutions are written:

    - **majority**: the answer that comes most often. No judge needed, but what the policy believes wrongly
      it believes often.
    - **vanilla best-of-N**: the one sample with the highest score. The more samples, the more chances for
      one that *looks* right to the judge by an error of the judge.
    - **weighted best-of-N**: every sample votes for its answer with its score $s_i$; the answer of the
      largest sum wins. One overrated sample is outvoted by ten decent ones that agree.
    - **beam search**: grow paths step by step, and keep those that the PRM likes best.
    - **particle filter**: grow $N$ paths step by step; after each step, copy each in *proportion* to its
      score.
    """)
    return


@app.cell
def _():
    policy = prm_train.load_policy("base")
    scorer, _words = small_prm(policy)
    show(f"The judge here is {_words}.")
    return policy, scorer


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Settings on some problems, figures on others

    What makes one score of the step scores is a choice. It is made on fifteen validation problems; then
    fifty test problems are searched. `prm_train.search_all` gives every candidate, graded, with its scores
    and its cost, and no method has to be chosen before.
    """)
    return


@app.cell
def _(policy, scorer):
    def problems_of(split, n):
        return prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=n, seed=0, split=split))

    _settings = {"n_samples": 16, "n_difficulty_draws": 0, **DRAWS}
    chosen = choose_settings(prm_train.search_all(problems_of("validation", 15), policy, scorer, **_settings))
    test = prm_train.search_all(
        problems_of("test", 50),
        policy,
        scorer,
        strategies=("particle_filter", "beam"),
        sizes=(4, 16),
        aggregation=chosen.vote_aggregation,
        **_settings,
    )
    return chosen, test


@app.cell
def _(chosen, policy, scorer, test):
    NAMES = {
        "pass_at_n": "any is right (ceiling)",
        "particle_filter": "particle filter",
        "prm_weighted": "PRM weighted",
        "beam": "beam search",
        "prm_vanilla": "PRM vanilla",
        "majority": "majority",
    }
    _flops = known_flops(policy, scorer)
    comparison = Comparison(test, chosen, 0, flops={"policy": _flops["policy"], "prm": _flops["scorer"]})
    _by_method = comparison.correct()
    correct = {name: _by_method[name] for name in NAMES}
    accuracy = {
        name: {n: comparison.interval(values) for n, values in at.items()} for name, at in correct.items()
    }
    _cost = comparison.tokens()

    def _spent(name):
        if name == "pass_at_n":
            return "–", "–"
        at = _cost[name][16]
        return f"{at.n_generated:,.0f} + {at.n_scorer:,.0f}", f"{at.flops / 1e9:.2f}"

    show(
        f"**{len(test)} test problems solved**, with the 95 % interval over problems in per cent, and what a "
        "problem costs at N = 16. (FLOPs count both models, prompts included.)\n\n"
        + table(
            ("method", "N = 1", "N = 4", "N = 16", "tokens written + scored", "10⁹ FLOPs"),
            [
                (
                    words,
                    *(percent(accuracy[name][n]) if n in accuracy[name] else "–" for n in (1, 4, 16)),
                    *_spent(name),
                )
                for name, words in NAMES.items()
            ],
        )
        + f"\n\nGreedy decoding solves {percent(comparison.single_samples()[0].accuracy)}."
    )
    return NAMES, accuracy, comparison, correct


@app.cell(hide_code=True)
def _(NAMES, accuracy):
    _styles = styles_of(accuracy)
    _lines = [
        Series(NAMES[name], _styles[name], tuple((float(n), each) for n, each in sorted(at.items())))
        for name, at in accuracy.items()
    ]
    _layout = Layout(760, 400, 170)
    _ends = [each for one in _lines for _, found in one.points for each in (found.low, found.high)]
    _frame = _layout.frame(
        log2_axis((1, 2, 4, 8, 16), "N, samples or paths of a problem"),
        linear_axis(_ends, "test problems solved, %", scale=100),
    )
    _names = [(*_frame.at(s.points[-1][0], s.points[-1][1].mean), s.label, s.style) for s in _lines]
    _parts = [axes(_frame), *(line(_frame, one) for one in _lines), end_labels(_frame, _names, _layout.names)]
    picture(drawing("Accuracy against N", _layout.width, _layout.height, _parts))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    The bands are wide: fifty problems. They overlap, and yet methods can be told apart, since all of them had
    the **same** problems: what counts is the difference within each (`evaluation.py`).
    """)
    return


@app.cell
def _(NAMES, comparison, correct):
    _pairs = (
        ("prm_weighted", "majority"),
        ("prm_weighted", "prm_vanilla"),
        ("particle_filter", "prm_weighted"),
        ("particle_filter", "beam"),
    )
    _words = {1: "better", 0: "cannot be told apart", -1: "worse"}
    _rows = []
    for _ours, _theirs in _pairs:
        for _n in (4, 16):
            _found = paired_difference(correct[_ours][_n], correct[_theirs][_n], np.random.default_rng(0))
            _rows.append(
                (f"{NAMES[_ours]} − {NAMES[_theirs]}", f"{_n}", points(_found), _words[_found.direction])
            )
    show(
        "**Paired differences**, points (95 % interval over problems)\n\n"
        + table(("methods", "N", "difference", "first one is"), _rows)
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    A judge that learned for a minute is weak, and a difference that cannot be told apart here may be there.
    After `make quickstart` this notebook shows its better one: `marimo edit docs/notebooks/search.py -- --prm
    runs/quickstart/prm`. What 500 problems and three seeds came to stands in the README.

    ## Why weighted beats vanilla

    One problem on which the highest score belongs to a wrong answer, and the sum of scores to the right
    one.
    """)
    return


@app.cell
def _(chosen, test):
    def _choices(result):
        scores = path_scores(result.scored, "prm", chosen.vote_aggregation)
        return scores, best_of(result.scored, scores), weighted_vote(result.scored, scores)

    _result = next(
        (each for each in test if not _choices(each)[1].is_correct and _choices(each)[2].is_correct),
        test[0],
    )
    _scores, _vanilla, _weighted = _choices(_result)
    _votes = {}
    for _candidate, _score in zip(_result.scored, _scores, strict=True):
        if _candidate.can_vote:
            _votes.setdefault(class_of(_candidate), []).append((_candidate, _score))
    _rows = [
        (
            f"`{group[0][0].answer}`" + " (right)" * group[0][0].is_correct,
            f"{len(group)}",
            f"{max(score for _, score in group):.2f}",
            f"{sum(score for _, score in group):.2f}",
        )
        for group in sorted(_votes.values(), key=lambda group: -sum(score for _, score in group))[:6]
    ]
    show(
        f"*{_result.problem.question}* Vanilla says `{_vanilla.answer}`, weighted `{_weighted.answer}`. The "
        "heaviest answers among sixteen samples:\n\n"
        + table(("answer", "samples", "highest score", "sum of scores"), _rows)
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Equal right solutions add up; errors differ, and each stands alone.

    ## What the particle filter does

    It treats the PRM's score as a likelihood: it wants paths in proportion to *policy probability × score*.

    1. each of $N$ particles draws its next step from the policy;
    2. its weight is multiplied by *score now / score before*;
    3. the open particles are drawn again in proportion to their weights: a path worth twice the average is
       copied, a bad one likely dies, and all weights are equal again;
    4. finished particles vote with their weights.

    Beam search keeps the *highest* scores, so with many beams it finds where the PRM is wrong. The filter
    keeps a *sample*: what the policy thinks of a path goes on counting, and more particles make the sample
    better and not more extreme. Beside choosing among whole samples it saves what is spent on paths that
    are lost at their second step. `prm_train.solve` answers one question so, without knowing its answer:
    """)
    return


@app.cell
def _(policy, scorer, test):
    _problem = test[1].problem
    answer = prm_train.solve(_problem.question, policy, scorer, "particle_filter", 16, **DRAWS)
    _shares = ", ".join(f"`{each}` {share:.0%}" for each, share in list(answer.shares.items())[:3])
    show(
        f"*{_problem.question}*\n\n`{answer.answer}`, with {answer.confidence:.0%} of the vote "
        f"({_shares}). The right answer, which it was not told: `{_problem.gold_answer}`. Cost: "
        f"{answer.cost.policy.n_generated:,} tokens written, {answer.cost.scorer.n_new:,} scored.\n\n"
        + table(
            ("step of the heaviest path", "score"),
            [(f"`{step}`", f"{score:.2f}") for step, score in zip(answer.steps, answer.scores, strict=True)],
        )
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    **Next:** `evaluation.py`, how to read such figures. From a shell, of any size and resumable: `prm-train
    search`, `prm-train evaluate`, which writes a report, and `prm-train solve`. Each strategy is a file in
    `prm_train/strategies` that reads like its paper.
    """)
    return


if __name__ == "__main__":
    app.run()
