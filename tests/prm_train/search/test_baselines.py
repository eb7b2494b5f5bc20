"""What a search stores of its samples for selections without a verifier."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from data_gen.policies.config import PolicyConfig
from data_gen.records.sampling import FinishReason, Usage
from data_gen.records.solutions import Solution
from prm_train.scoring.confidence import ConfidenceModel
from prm_train.search.results import read_results
from prm_train.search.run import main
from prm_train.search.settings import SearchConfig
from prm_train.search.summary import SearchSummary
from prm_train.strategies.baselines import ProblemBaselines, chunk_likelihoods
from tests.tiny_models import tiny_config, tiny_model

SMALL = ("--problems.n", "2", "--n_samples", "4", "--n_difficulty_draws", "1", "--other_temperatures", "0.5")


def test_chunks_count_alike_and_the_last_may_be_shorter() -> None:
    assert chunk_likelihoods((-1.0, -3.0, -5.0), 2) == {
        "chunk_likelihood mean": (-2.0 - 5.0) / 2,
        "chunk_likelihood lowest": -5.0,
    }
    assert set(chunk_likelihoods((-1.0, -3.0), 5).values()) == {-2.0}


def test_each_distinct_solution_is_read_once() -> None:
    model = ConfidenceModel(tiny_model(AutoModelForCausalLM, tiny_config("qwen2", 50)), window=2)
    baselines = ProblemBaselines(("self_certainty", "chunk_likelihood"), model, (1, 2, 3), 2)
    one = Solution("p", 0, "a", FinishReason.EOS, (4, 5), (-1.0, -2.0))
    other, cut = replace(one, index=1, token_ids=(6, 5)), Solution("p", 2, "", FinishReason.LENGTH)
    first = baselines.measure([one, other, replace(one, index=3), cut])
    assert [list(each.values) for each in first] == [
        ["self_certainty", "chunk_likelihood mean", "chunk_likelihood lowest"]
    ] * 3 + [[]]
    assert first[0] == first[2] != first[1]
    assert first[0].values["self_certainty"] == model.measure((1, 2, 3), [(4, 5)])[0]["self_certainty"]
    assert [each.n_read for each in first] == [5, 5, 5, 0]
    assert baselines.measure([one]) == first[:1]
    assert baselines.usage == Usage(n_prefilled=2 * 5)


def test_measures_change_nothing_else_and_reading_is_booked(tmp_path: Path) -> None:
    main(["--output", str(tmp_path / "plain"), *SMALL])
    names = "self_certainty,deepconf,chunk_likelihood"
    main(["--output", str(tmp_path / "measured"), *SMALL, "--baselines", names, "--chunk_tokens", "1"])
    plain, measured = (
        sorted(read_results(tmp_path / name / "results.jsonl"), key=lambda result: result.problem.problem_id)
        for name in ("plain", "measured")
    )
    n_read = 0
    for before, after in zip(plain, measured, strict=True):
        for t, candidates in after.samples.items():
            bare = tuple(replace(each, confidence={}, scorer_tokens={}) for each in candidates)
            assert bare == before.samples[t]
            for each in candidates:
                assert each.confidence["chunk_likelihood mean"] == pytest.approx(
                    each.logprob_sum / each.n_tokens
                )
                assert set(each.confidence) > {"self_certainty", "deepconf tail"}
                assert each.scorer_tokens["confidence"] == (
                    after.cost_of_samples(t).policy.n_prefilled + each.n_tokens,
                )
        distinct = {each.text: each for candidates in after.samples.values() for each in candidates}
        n_read += sum(each.scorer_tokens["confidence"][0] for each in distinct.values())
    booked, alone = (SearchSummary.read(tmp_path / name / "search.json") for name in ("measured", "plain"))
    assert booked.usage - alone.usage == Usage(n_prefilled=n_read)
    assert booked.n_without_score == 0


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        (PolicyConfig("m", servers=("http://a:1",)), "servers"),
        (PolicyConfig("m", engine="vllm"), "the engine vllm"),
        (PolicyConfig("simulated"), "the simulated policy"),
    ],
)
def test_a_policy_that_is_no_model_here_is_refused_what_it_cannot_read(
    policy: PolicyConfig, where: str, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match=rf"baselines: got deepconf with {where}, expected a policy of the engine transf"
    ):
        SearchConfig(tmp_path, policy=policy, baselines=("chunk_likelihood", "deepconf"))
    SearchConfig(tmp_path, policy=policy, baselines=("chunk_likelihood",))
    with pytest.raises(ValueError, match="chunk_tokens: got 0"):
        SearchConfig(tmp_path, chunk_tokens=0)
