"""What a server tells those who run it: lines of JSON, spans, the drift of its scorer."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import Reliability, ScoreBin
from prm_train.serving.admission import Admission
from prm_train.serving.answering import Models
from prm_train.serving.operations.drift import Drift, ScoreReference, find_reference
from prm_train.serving.operations.logs import JsonLines, LogRequests, facts
from prm_train.serving.operations.settings import LogSettings
from prm_train.serving.operations.spans import TraceRequests, span
from tests.prm_train.serving.conftest import QUESTION, STEPS, config_of, serving

REFERENCE = ScoreReference((0.0, 0.5, 0.9), (1, 1, 2))


def test_drift_is_the_share_of_scores_that_are_in_other_bins() -> None:
    drift = Drift(REFERENCE)
    assert (drift.distance, drift.shares) == (0.0, (0.0, 0.0, 0.0))
    for score in (0.0, 0.5, 0.9, 1.0):
        drift.observe(score)
    assert (drift.distance, drift.shares) == (0.0, (0.25, 0.25, 0.5))
    for _ in range(4):
        drift.observe(0.49)
    assert drift.shares == (0.625, 0.125, 0.25)
    assert drift.distance == pytest.approx(0.375)


def test_scores_of_another_scorer_are_no_drift() -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    from prm_train.serving.metrics import Metrics

    metrics, drift = Metrics(Admission(1, 1)), Drift(REFERENCE)
    metrics.watch_drift(drift)
    metrics.count_scores([0.1, None], is_own=False)
    assert drift.shares == (0.0, 0.0, 0.0)
    metrics.count_scores([0.6, None])
    assert drift.shares == (0.0, 1.0, 0.0)


def test_drift_forgets_old_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prm_train.serving.operations.drift.WINDOW", 2)
    drift = Drift(REFERENCE)
    for score in (0.1, 0.6, 0.95):
        drift.observe(score)
    assert drift.shares == (0.0, 0.5, 0.5)


def test_a_reference_is_of_a_file_or_of_the_scorers_training(tmp_path: Path, prm: Path) -> None:
    REFERENCE.write(tmp_path / "reference.json")
    assert find_reference(tmp_path / "reference.json", None) == REFERENCE
    assert find_reference(None, str(prm)) is None  # of no training
    bins = (ScoreBin(0.0, 30, 5, 0.1), ScoreBin(0.7, 10, 4, 0.9))
    trained = json.loads((prm / "config.json").read_text())
    trained["prm_train"]["reliability"] = asdict(Reliability(bins))
    (tmp_path / "config.json").write_text(json.dumps(trained))
    assert find_reference(None, str(tmp_path)) == ScoreReference((0.0, 0.7), (30, 10))
    (tmp_path / "wrong.json").write_text('{"lows": [0.0, 0.5], "counts": [1]}')
    with pytest.raises(InputError, match="as many counts as lows"):
        find_reference(tmp_path / "wrong.json", None)


def test_a_json_log_says_what_was_asked_only_if_it_is_told_to(
    prm: Path, reload: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    REFERENCE.write(tmp_path / "reference.json")
    for prompts in (False, True):
        config = config_of(
            prm, log=LogSettings(json=True, prompts=prompts), score_reference=tmp_path / "reference.json"
        )
        caplog.clear()
        with caplog.at_level(logging.INFO, "prm_train.serving"), serving(config, reload) as server:
            reply = server.post("/v1/completions", {"prompt": QUESTION, "seed": 1, "search": {"n": 1}})
            server.post("/v1/completions", {"prompt": 3})
            assert server.client.get(f"{server.url}/health/ready").json()["status"] == "ready"
            n_scores = len(server.ask("/v1/score", question=QUESTION, steps=STEPS)["scores"])
            page = server.client.get(f"{server.url}/metrics").text
        lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
        [answered] = [line for line in lines if "strategy" in line]
        requests = [line for line in lines if "request_id" in line]
        assert [(line["path"], line["status"]) for line in requests] == [
            ("/v1/completions", 200),
            ("/v1/completions", 400),
            ("/v1/score", 200),
        ]
        assert requests[0]["request_id"] == reply.headers["X-Request-Id"]
        assert (requests[0]["key"], answered["n"], answered["seed"]) == ("anybody", 1, 1)
        assert (QUESTION in json.dumps(lines)) is prompts
        counted = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        assert counted['prm_train_scorer_bin_reference{low="0.9"}'] == "0.5"
        shares = [float(counted[f'prm_train_scorer_bin_share{{low="{low}"}}']) for low in (0.0, 0.5, 0.9)]
        assert sum(shares) == pytest.approx(1)
        assert float(counted["prm_train_step_scores_count"]) > n_scores
        wanted = sum(abs(one - other) for one, other in zip(shares, (0.25, 0.25, 0.5), strict=True)) / 2
        assert float(counted["prm_train_scorer_drift"]) == pytest.approx(wanted)


def test_a_line_of_json_holds_its_facts_and_its_exception() -> None:
    logger, lines = logging.getLogger("test_json_lines"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(JsonLines().format(record))  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        raise ValueError("boom")
    except ValueError:
        logger.exception("it %s", "failed", extra=facts(path=Path("/x"), n=1))
    [line] = map(json.loads, lines)
    assert {name: line[name] for name in ("level", "message", "path", "n")} == {
        "level": "error",
        "message": "it failed",
        "path": "/x",
        "n": 1,
    }
    assert line["exception"].endswith("ValueError: boom")


def test_spans_of_a_request_are_inside_one_another_and_inside_the_callers() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))

    async def answer(request: Request) -> Response:
        with span("search", strategy="majority", n=4) as noted:
            noted.note(n_generated=7, stopped=None)
        return JSONResponse({})

    async def fail(request: Request) -> Response:
        with span("search"):
            raise ValueError(f"a prefix that begins {QUESTION}")

    app = Starlette(
        routes=[Route("/beam/v1/completions", answer), Route("/verify", fail)],
        middleware=[Middleware(LogRequests), Middleware(TraceRequests, provider=provider)],
    )
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert TestClient(app).get("/beam/v1/completions", headers={"traceparent": caller}).status_code == 200
    inner, outer = (json.loads(each.to_json()) for each in kept.get_finished_spans())
    assert (outer["name"], outer["kind"]) == ("GET /v1/completions", "SpanKind.SERVER")
    assert outer["attributes"]["http.response.status_code"] == 200
    assert outer["parent_id"] == "0xb7ad6b7169203331"
    assert (inner["name"], inner["parent_id"]) == ("search", outer["context"]["span_id"])
    known = {"strategy": "majority", "n": 4, "n_generated": 7}
    assert inner["attributes"] == {f"prm_train.{name}": value for name, value in known.items()}
    kept.clear()
    with pytest.raises(ValueError, match="begins"):
        TestClient(app).get("/verify")
    failed = [json.loads(each.to_json()) for each in kept.get_finished_spans()]
    # By its name alone: its message may hold what was asked
    assert [each["status"] for each in failed] == [{"status_code": "ERROR", "description": "ValueError"}] * 2
    assert QUESTION not in json.dumps(failed)


def test_without_the_option_there_are_no_spans() -> None:
    with span("search", n=1) as noted:
        noted.note(n_generated=1)
