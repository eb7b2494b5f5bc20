"""What deploy/ starts: commands that parse, files that are there, names that agree, a board whose queries ask
for what /metrics has. No container is built here.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.serve_policy import ServePolicyConfig
from data_gen.settings.parse import parse_config
from prm_train.serving.settings import ServeConfig

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes/serve.yaml").read_text()))
WORKLOADS = {each["metadata"]["name"]: each["spec"] for each in KUBERNETES if each["kind"] != "Service"}
SERVICES = {each["metadata"]["name"]: each["spec"] for each in KUBERNETES if each["kind"] == "Service"}
OF_CONFIG_MAP = ("deploy/serve.yaml", "deploy/kubernetes/haproxy.cfg")  # that the file's head makes


def container(workload: str) -> dict[str, Any]:
    [found] = WORKLOADS[workload]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def parsed(words: list[str]) -> ServeConfig | ServePolicyConfig:
    command, *options = words
    here = [word.replace("/etc/prm-train/", f"{DEPLOY}/") for word in options]
    return parse_config({"serve": ServeConfig, "serve-policy": ServePolicyConfig}[command], here)


@pytest.mark.parametrize(
    ("serve", "policy", "servers"),
    [
        (COMPOSE["serve"]["command"], COMPOSE["policy"]["command"], ("http://policy:8000",)),
        (
            container("prm-serve")["args"],
            container("prm-policy")["args"],
            ("http://prm-policy-0.prm-policy:8000", "http://prm-policy-1.prm-policy:8000"),
        ),
    ],
)
def test_commands_parse_and_name_the_policy_that_is_served(
    serve: list[str], policy: list[str], servers: tuple[str, ...]
) -> None:
    config, replica = parsed(serve), parsed(policy)
    assert isinstance(config, ServeConfig)
    assert isinstance(replica, ServePolicyConfig)
    assert (config.policy.servers, config.policy.model) == (servers, replica.model)
    assert (config.host, config.port, replica.host, replica.port) == ("0.0.0.0", 8000, "0.0.0.0", 8000)
    assert config.log.json
    assert config.drain_seconds < 40


def test_what_compose_mounts_is_there_and_what_it_calls_is_a_service() -> None:
    mounts = [volume for service in COMPOSE.values() for volume in service.get("volumes", ())]
    assert [path for path in mounts if path[0] == "." and not (DEPLOY / path.split(":")[0]).exists()] == []
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    assert prometheus["static_configs"] == [{"targets": ["serve:8000"]}]
    [source] = yaml.safe_load((DEPLOY / "grafana/datasource.yaml").read_text())["datasources"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in COMPOSE  # type: ignore[index]
    published = [port for service in COMPOSE.values() for port in service.get("ports", ())]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_kubernetes_objects_fit_together() -> None:
    for name, spec in WORKLOADS.items():
        template = spec["template"]
        assert template["metadata"]["labels"] == spec["selector"]["matchLabels"], name
        volumes = {each["name"] for each in template["spec"].get("volumes", ())}
        mounted = {each["name"] for each in container(name).get("volumeMounts", ())}
        assert mounted == volumes, name
    labels = [spec["selector"]["matchLabels"] for spec in WORKLOADS.values()]
    assert [name for name, spec in SERVICES.items() if spec["selector"] not in labels] == []
    config = parsed(container("prm-serve")["args"])
    assert isinstance(config, ServeConfig)
    assert str(config.api_keys) == "/etc/prm-train-keys/api_keys.yaml"
    head = (DEPLOY / "kubernetes/serve.yaml").read_text().partition("apiVersion")[0]
    assert [path for path in OF_CONFIG_MAP if f"--from-file={path}" not in head] == []
    assert (
        config.drain_seconds + 5 < WORKLOADS["prm-serve"]["template"]["spec"]["terminationGracePeriodSeconds"]
    )
    balancer = (DEPLOY / "kubernetes/haproxy.cfg").read_text()
    [replicas] = re.findall(r"_http\._tcp\.([\w-]+)\.default", balancer)
    assert SERVICES[replicas]["selector"] == WORKLOADS["prm-serve"]["selector"]["matchLabels"]


def test_the_board_asks_for_what_metrics_has() -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    from prometheus_client import generate_latest

    from prm_train.serving.admission import Admission
    from prm_train.serving.metrics import Metrics
    from prm_train.serving.operations.drift import Drift, ScoreReference
    from tests.prm_train.serving.operations.test_answer_cache import found

    metrics = Metrics(Admission(1, 1))
    metrics.watch_drift(Drift(ScoreReference((0.0,), (1,))))
    metrics.count_request("/v1/score", "200", 0.1)
    metrics.count_answer(found("7").answer)
    metrics.count_cache("hit")
    lines = generate_latest(metrics._registry).decode().splitlines()
    known: dict[str, set[str]] = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            known.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    board = json.loads((DEPLOY / "grafana/dashboards/serve.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    for query in queries:
        asked = set(re.findall(r"prm_train_\w+", query))
        by = {word for group in re.findall(r"by \(([^)]*)\)", query) for word in re.split(r",\s*", group)}
        wanted = by | set(re.findall(r"{(\w+)=", query))
        assert asked, query
        assert asked <= known.keys(), query
        assert all(wanted <= known[name] for name in asked), query


def test_the_dockerfile_copies_what_the_package_is_built_from() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{path}" for path in copied} == {line for line in kept if line.startswith("!")}
