"""The built-in policy and a tiny PRM on it, served in a thread of the test's process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from data_gen.policies.config import PolicyConfig
from data_gen.problems.tasks import model_path
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.serving.answering import Models
from prm_train.serving.app import ServeApp
from prm_train.serving.loading import load_models
from prm_train.serving.settings import ServeConfig
from prm_train.training.config import ScorerConfig
from prm_train.training.scorer_network import Kind, build_scorer, save_scorer
from tests.app_in_thread import in_thread

QUESTION = "Start with 3: plus 4, times 9."  # 30 bytes
STEPS = ["3 plus 4=7", "7 times 9=63, keep 3", "Answer: 7 3"]


@dataclass
class Served:
    """A server, and the models behind it."""

    url: str
    config: ServeConfig
    models: Models
    serve_app: ServeApp
    # One for all: making a client costs more than most requests
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, verify=False))

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(f"{self.url}{path}", json=body, **options)

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        reply = self.post(path, body)
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def chat(self, content: str = QUESTION, **body: Any) -> dict[str, Any]:
        return self.ask("/v1/chat/completions", messages=[{"role": "user", "content": content}], **body)


def write_scorer(kind: Kind, folder: Path) -> Path:
    torch.manual_seed(0)
    base = model_path("base")
    model, encoding = build_scorer(kind, ScorerConfig(rows=Path(), output=Path(), model=base))
    torch.nn.init.normal_(model.score.weight, std=0.3)
    save_scorer(model, encoding, CheckpointFacts(kind, encoding.facts, "made up for a test", "min"), folder)
    return folder


@pytest.fixture(scope="session")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scorer("prm", tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="session")
def orm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scorer("orm", tmp_path_factory.mktemp("orm"))


def config_of(prm: Path | None, **settings: Any) -> ServeConfig:
    given = {"policy": PolicyConfig("base"), "grader": "arithmetic", "n": 4, "max_new_tokens": 80}
    return ServeConfig(**{**given, "prm": prm and str(prm), **settings})


@contextmanager
def serving(config: ServeConfig, models: Models | None = None, key: str | None = None) -> Iterator[Served]:
    """With `models` instead of those that the config names."""
    serve_app, models = ServeApp(config, key), models or load_models(config)
    serve_app.ready(models)
    with in_thread(serve_app.app) as port:
        yield Served(f"http://127.0.0.1:{port}", config, models, serve_app)


@pytest.fixture(scope="session")
def served(prm: Path) -> Iterator[Served]:
    with serving(config_of(prm)) as server:
        yield server


@pytest.fixture(scope="session")
def reload(prm: Path) -> Models:
    """The same models once more, for what is done in the test's own event loop."""
    return load_models(config_of(prm))
