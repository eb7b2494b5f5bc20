"""Selections without a verifier, on candidates that are few enough to work out by hand."""

from dataclasses import replace

from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.evaluation.baselines import CHOOSERS, borda, kept
from prm_train.evaluation.choosing import choose_settings
from prm_train.evaluation.comparison import Comparison, settings_in_words
from prm_train.evaluation.results import TokensPerProblem
from prm_train.scoring.flops import ForwardFlops
from prm_train.search.failures import as_unsolved
from prm_train.search.results import Cost, Difficulty, ProblemResult, StrategyRun
from prm_train.strategies.candidates import Candidate

# answer and confidence of four candidates; 2 is right
ROWS = (("1", 0.5), ("2", 2.0), ("1", 1.0), ("1", 0.25))
NAMES = (
    "self_certainty",
    "deepconf mean",
    "deepconf tail",
    "deepconf lowest",
    "deepconf bottom",
)


def candidates(rows: tuple[tuple[str | None, float], ...] = ROWS) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            "p",
            i,
            f"text {i}",
            answer,
            answer == "2",
            n_tokens=3,
            logprob_sum=-3.0,
            scorer_tokens={"confidence": (8,)},
            confidence={
                **dict.fromkeys(NAMES, value),
                "chunk_likelihood mean": -1 / value,
                "chunk_likelihood lowest": -2.0,
            },
        )
        for i, (answer, value) in enumerate(rows)
    )


def test_borda_weighs_by_rank_among_those_that_can_vote() -> None:
    some = candidates((*ROWS, (None, 9.0), ("3", 1.0)))
    # ranks 4, 1, 2, 5, none, 3: of equal ones the earlier is better
    assert borda("self_certainty", 1, some) == [2, 5, 4, 1, None, 3]
    assert borda("self_certainty", 2, some) == [4, 25, 16, 1, None, 9]
    assert borda("self_certainty", 1, ()) == []


def test_deepconf_keeps_the_most_confident_with_their_confidence_as_weight() -> None:
    some = candidates()
    assert kept("deepconf mean", 100, some) == [0.5, 2.0, 1.0, 0.25]
    assert kept("deepconf mean", 90, some) == [0.5, 2.0, 1.0, None]  # 0.3 of a candidate rounded up
    assert kept("deepconf mean", 10, some) == [None, 2.0, None, None]
    assert kept("deepconf mean", 10, candidates((("1", 1.0),))) == [1.0]
    assert kept("deepconf mean", 10, candidates(((None, 1.0),))) == [None]
    eleven = candidates(tuple(("1", float(i)) for i in range(1, 12)))
    assert [weight for weight in kept("deepconf mean", 90, eleven) if weight is not None] == list(
        range(2, 12)
    )


def test_each_choice_is_what_its_name_says() -> None:
    some = candidates()
    choices = {
        (name, form): chosen.answer
        for name, forms in CHOOSERS.items()
        for form, choose in forms.items()
        if (chosen := choose(some)) is not None
    }
    # 1 has 2 + 3 + 1 against 4 by rank, and 4 + 9 + 1 against 16 by its square; 1.75 against 2 by confidence;
    # of exp(-1 / confidence) 0.14 + 0.37 + 0.02 against 0.61
    assert choices[("self_certainty", "best")] == "2"
    assert choices[("self_certainty", "Borda, power 1")] == "1"
    assert choices[("self_certainty", "Borda, power 2")] == "2"
    assert choices[("deepconf", "tail, top 10 %")] == choices[("deepconf", "lowest, top 100 %")] == "2"
    assert (
        choices[("chunk_likelihood", "mean, best")] == choices[("chunk_likelihood", "mean, weighted")] == "2"
    )
    assert (
        choices[("chunk_likelihood", "lowest, best")]
        == choices[("chunk_likelihood", "lowest, weighted")]
        == "1"
    )
    assert len(choices) == 4 + 12 + 4


def result(name: str) -> ProblemResult:
    """At T = 0.5 the confident ones are wrong."""
    misled = candidates((("1", 2.0), ("2", 0.5), ("1", 1.0), ("1", 0.25)))
    cost = Cost(Usage(12, 5))
    runs = (
        StrategyRun("greedy", 1, 0.0, candidates()[:1]),
        StrategyRun("samples", 4, 1.0, candidates(), cost),
        StrategyRun("samples", 4, 0.5, misled, cost),
    )
    return ProblemResult(Problem(name, "?", "2"), 1.0, runs, (), Difficulty(4, 1), Usage())


def test_baselines_are_chosen_on_validation_and_shown_with_what_they_cost() -> None:
    results = [result(f"p{i}") for i in range(5)]
    chosen = choose_settings(results)
    assert {name: at[4] for name, at in chosen.baselines.items()} == {
        "self_certainty": (1.0, "best"),
        "deepconf": (1.0, "mean, top 10 %"),
        "chunk_likelihood": (1.0, "mean, best"),
    }
    assert 1.0 in chosen.temperatures
    flops = {"policy": ForwardFlops(1), "confidence": ForwardFlops(1)}
    comparison = Comparison(results, chosen, seed=0, flops=flops)
    correct, tokens = comparison.correct(), comparison.tokens()
    assert {name: correct[name][4].mean() for name in ("majority", *chosen.baselines)} == {
        "majority": 0.0,
        "self_certainty": 1.0,
        "deepconf": 1.0,
        "chunk_likelihood": 1.0,
    }
    # 3 tokens of each sample and 5 of the prompt; each is read once more with the prompt
    assert tokens["deepconf"][2] == tokens["self_certainty"][2] == TokensPerProblem(6, 16, 5, 6 + 5 + 16)
    assert tokens["chunk_likelihood"][2] == TokensPerProblem(6, 0, 5, 11)
    assert settings_in_words(comparison)["deepconf"].startswith(
        "T and form chosen on validation for each N (from"
    )


def test_results_without_measures_have_no_baselines() -> None:
    one = result("p0")
    runs = tuple(
        StrategyRun(
            run.spec,
            run.n,
            run.temperature,
            tuple(replace(each, confidence={}) for each in run.candidates),
            run.cost,
        )
        for run in one.runs
    )
    results = [ProblemResult(one.problem, 1.0, runs, (), one.difficulty, Usage())] * 5
    assert choose_settings(results).baselines == {}


def test_a_failed_problem_that_comes_first_hides_no_measures_of_the_others() -> None:
    answered = result("p1")
    failed = as_unsolved(replace(result("p0"), runs=(), failure="odd"), answered)
    assert choose_settings([failed, answered]).baselines == choose_settings([answered]).baselines != {}
