"""A server with a router, a second policy and a second scorer: what is routed, why, and who is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_gen.policies.config import PolicyConfig
from data_gen.problems.tasks import model_path
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.search.allocation import Choice
from prm_train.search.routing.router import Router
from prm_train.serving.answering import Models
from prm_train.serving.loading import load_models
from tests.prm_train.serving.conftest import QUESTION, STEPS, Served, config_of, serving
from tests.prm_train.serving.test_streams import events_of

HARD = "Start with 3: knead 4 7, fold 5, mix 9, knead 2 8."
SEEDS = range(1, 7)


@pytest.fixture(scope="module")
def sample_scores(served: Served) -> dict[int, float | None]:
    """By seed: what the random PRM gives to the one sample, None where that states no answer."""
    one = {"strategy": "best_of_n", "n": 1}
    return {seed: served.chat(HARD, seed=seed, search=one)["search"]["confidence"] for seed in SEEDS}


@pytest.fixture(scope="module")
def routed(
    served: Served,
    reload: Models,
    prm: Path,
    orm: Path,
    sample_scores: dict[int, float | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Its samples stand from a score that one seed's reaches and another's does not."""
    folder = tmp_path_factory.mktemp("routed")
    known = sorted(score for score in sample_scores.values() if score is not None)
    assert known[0] < known[-1]
    Router(
        models={"policy": served.models.policy.policy_id, "prm": served.models.scorer.scorer_id},  # type: ignore[union-attr]
        draws=DrawSettings(max_new_tokens=80),
        scorer="prm",
        aggregation="min",
        accept_from=(known[0] + known[-1]) / 2,
        complex=(Choice("prm_weighted", 4, "weighted", 1.0, "min", scorer="prm"),),
    ).write(folder / "router.json")
    (folder / "other.yaml").write_text("model: single_attempt\n")
    (folder / "judge.yaml").write_text(f"orm: {orm}\n")
    config = config_of(
        prm,
        router=folder / "router.json",
        policies={"other": folder / "other.yaml"},
        scorers={"judge": folder / "judge.yaml"},
    )
    config.check()
    models = load_models(config)
    (folder / "router.json").unlink()  # it was read: no request reads it again
    with serving(config, models) as server:
        yield server


def metric(served: Served, name: str) -> dict[str, float]:
    lines = served.client.get(f"{served.url}/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith(f"prm_train_{name}")]
    return {labels: float(value) for labels, value in pairs}


def test_a_simple_answer_and_an_escalation_say_why_and_are_counted(
    routed: Served, served: Served, sample_scores: dict[int, float | None]
) -> None:
    scored = {seed: score for seed, score in sample_scores.items() if score is not None}
    sure, unsure = max(scored, key=lambda seed: scored[seed]), min(scored, key=lambda seed: scored[seed])
    simple, complex_ = (routed.chat(HARD, seed=seed) for seed in (sure, unsure))
    assert simple["search"]["route"] == {
        "path": "simple",
        "reason": "sure",
        "pass_at_1": None,
        "score": pytest.approx(scored[sure], abs=1e-6),
        "confidence": None,
        "n_searches": None,
    }
    assert simple["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
    route = complex_["search"]["route"]
    assert (route["path"], route["reason"]) == ("complex", "unsure")
    assert route["score"] == pytest.approx(scored[unsure], abs=1e-6)
    # its sample is the first of the four, and not paid for twice
    four = {"strategy": "weighted", "n": 4, "aggregation": "min"}
    plain = served.chat(HARD, seed=unsure, search=four)
    assert complex_["choices"] == plain["choices"]
    assert complex_["usage"] == plain["usage"]
    counted = metric(routed, "routes_total")
    assert counted['prm_train_routes_total{path="simple",reason="sure"}'] == 1.0
    assert counted['prm_train_routes_total{path="complex",reason="unsure"}'] == 1.0


def test_a_stream_of_a_routed_question_tells_both_searches_and_sends_no_text_before_the_end(
    routed: Served, sample_scores: dict[int, float | None]
) -> None:
    unsure = min(sample_scores, key=lambda seed: sample_scores[seed] or 1.0)
    whole = routed.chat(HARD, seed=unsure)
    body = {"messages": [{"role": "user", "content": HARD}], "seed": unsure, "stream": True}
    *events, text, last = events_of(routed, "/v1/chat/completions", body)
    told = [event["progress"] for event in events if "progress" in event]
    searches = [(each["strategy"], each["n"]) for each in told if each["event"] == "search"]
    assert searches == [("best_of_n", 1), ("weighted", 4)]
    assert not any(event["choices"][0]["delta"].get("content") for event in events)
    assert text["choices"][0]["delta"]["content"] == whole["choices"][0]["message"]["content"]
    assert (last["usage"], last["search"]) == (whole["usage"], whole["search"])
    known = routed.client.get(f"{routed.url}/v1/strategies").json()
    assert (known["models"], known["scorers"]) == (["base", "other"], ["prm", "judge"])
    assert known["default"]["strategy"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"search": {"n": 2}},
        {"search": {"strategy": "majority"}},
        {"reasoning_effort": "low"},
        {"temperature": 0.5},
        {"max_tokens": 60},
        {"model": "other"},
        {"search": {"scorer": "judge", "strategy": "weighted"}},
    ],
)
def test_who_says_how_to_answer_is_not_routed(routed: Served, changes: dict[str, Any]) -> None:
    reply = routed.chat(seed=1, **changes)
    assert "route" not in reply["search"]
    assert reply["search"]["n"] == changes.get("search", {}).get("n", 4)


def test_policies_and_scorers_have_names_and_are_chosen_by_them(routed: Served) -> None:
    cards = routed.client.get(f"{routed.url}/v1/models").json()["data"]
    assert [card["id"] for card in cards] == ["base", "other", "prm", "judge"]
    assert cards[0]["policy_id"] != cards[1]["policy_id"]
    own, other = (
        routed.chat(QUESTION, model=name, seed=1, search={"strategy": "majority"})
        for name in ("base", "other")
    )
    assert (own["model"], other["model"]) == ("base", "other")
    assert own["system_fingerprint"] != other["system_fingerprint"]
    assert own["choices"] != other["choices"]
    refused = routed.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "?"}], "model": "prm"}
    )
    assert refused.status_code == 404
    assert refused.json()["error"]["message"] == "model: got 'prm'; this server serves 'base', 'other'"


def test_an_orm_scores_beside_the_prm_in_every_way_of_scoring(routed: Served) -> None:
    body = {"question": QUESTION, "steps": STEPS}
    by_prm, by_orm = (routed.ask("/v1/score", **body, model=name) for name in ("prm", "judge"))
    assert (by_prm["model"], len(by_prm["scores"])) == ("prm", 3)
    assert (by_orm["model"], len(by_orm["scores"])) == ("judge", 1)
    session = routed.ask("/v1/score/sessions", question=QUESTION, model="judge")
    steps = [{"parent": place, "step": step} for place, step in enumerate(STEPS)]
    found = routed.ask(f"/v1/score/sessions/{session['id']}/extend", steps=steps)
    last = routed.ask(f"/v1/score/sessions/{session['id']}/score", nodes=found["nodes"][-1:])
    assert (last["model"], last["scores"]) == ("judge", pytest.approx(by_orm["scores"], abs=1e-6))
    pooled = routed.ask("/pooling", input=[1, 2, 3], model="judge")
    assert (pooled["model"], len(pooled["data"][0]["data"])) == ("judge", 1)
    assert len(routed.ask("/pooling", input=[1, 2, 3])["data"][0]["data"]) == 3
    vote = {"scorer": "judge", "strategy": "weighted", "return_steps": True}
    steps_of = routed.chat(seed=1, search=vote)["search"]["steps"]
    assert [step["score"] is None for step in steps_of] == [True] * (len(steps_of) - 1) + [False]


def test_the_last_step_has_the_prices_and_the_name_of_the_large_policy(
    served: Served, prm: Path, tmp_path: Path
) -> None:
    """No sample stands and no answer is sure enough: all is asked of the large policy. Only its tokens have a
    price, 1 each; those of the small policy's one sample have none.
    """
    large = tmp_path / "large"
    large.symlink_to(model_path("single_attempt"))
    config = config_of(
        prm,
        router=tmp_path / "router.json",
        large_policy=PolicyConfig(str(large)),
        policy_prices={"large": {"generated": 1e6}},
    )
    Router(
        models={
            "policy": served.models.policy.policy_id,
            "prm": served.models.scorer.scorer_id,  # type: ignore[union-attr]
            "large": config.large_policy.load().policy_id,  # type: ignore[union-attr]
        },
        draws=DrawSettings(max_new_tokens=80),
        scorer="prm",
        aggregation="min",
        accept_from=2.0,
        complex=(Choice("prm_weighted", 1, "weighted", 1.0, "min", scorer="prm"),),
        large_from=2.0,
    ).write(tmp_path / "router.json")
    with serving(config) as server:
        cards = server.client.get(f"{server.url}/v1/models").json()["data"]
        assert [card["id"] for card in cards] == ["base", "large", "prm"]
        answered = server.chat(HARD, seed=1)
        assert answered["search"]["route"]["path"] == "large"
        small = server.chat(HARD, seed=1, search={"strategy": "weighted", "n": 1})["usage"]
        alone = server.chat(HARD, seed=1, model="large", search={"strategy": "majority", "n": 1})["usage"]
        assert (small["cost"], alone["cost"]) == (0.0, alone["completion_tokens"])
        n_generated = answered["usage"]["completion_tokens"]
        assert answered["usage"]["cost"] == n_generated - small["completion_tokens"] > 0


def test_clients_are_not_told_where_a_model_lies(prm: Path, tmp_path: Path) -> None:
    names = {str(tmp_path): tmp_path.name, "gguf:/models/small.gguf": "small.gguf", "Qwen/Qwen3-8B": None}
    for model, name in names.items():
        config = config_of(prm, policy=PolicyConfig(model))
        assert config.policy_name == (name or model)
    assert config_of(prm, policy=PolicyConfig(str(tmp_path)), name="mine").policy_name == "mine"


def test_names_and_files_that_do_not_fit_are_refused(prm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'base' names two models"):
        config_of(prm, policies={"base": tmp_path / "x.yaml"})
    with pytest.raises(ValueError, match="scorers: got some without prm or orm"):
        config_of(None, strategy="majority", scorers={"judge": tmp_path / "x.yaml"})
    with pytest.raises(InputError, match=r"policies, scorers: other: .*x.yaml: no such file"):
        config_of(prm, policies={"other": tmp_path / "x.yaml"}).check()
    (tmp_path / "x.yaml").write_text("device: cpu\n")
    with pytest.raises(InputError, match=r"policies: other: .*x.yaml names no model"):
        config_of(prm, policies={"other": tmp_path / "x.yaml"}).check()
    (tmp_path / "empty.yaml").write_text("scorer: {max_batch_tokens: 64}\n")
    with pytest.raises(InputError, match="prm, orm: expected one of them"):
        config_of(prm, scorers={"judge": tmp_path / "empty.yaml"}).check()
