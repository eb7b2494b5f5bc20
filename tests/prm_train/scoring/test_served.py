"""Scorers behind servers: the same scores as in this process, what is sent for them, and what servers that
fail or answer wrongly come to.
"""

import asyncio
import json
import logging
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import prm_train
from data_gen.policies.servers.requests import RequestSettings
from data_gen.policies.servers.server_errors import ServerError
from data_gen.settings.errors import InputError, ProblemFaultError
from prm_train.checkpoints.calibration import Calibration
from prm_train.checkpoints.facts import CheckpointFacts, Kind, store_calibration
from prm_train.encoding.paths import ScorerEncoding
from prm_train.kinds.load import load_checkpoint, load_scorer
from prm_train.kinds.served import connect_scorer
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.scoring.score import score
from prm_train.scoring.served import ServedScorer
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.search.score_rows import main
from prm_train.search.scorer_config import ScorerConfig as WhereScorersRun
from prm_train.search.settings import SearchConfig
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.settings import ScorerConfig
from tests.pooling_server import PoolingServer, serve
from tests.prm_train.scoring.foreign.test_formats import build_trl

QUESTION = "Start with 3: plus 4, times 2."
STEPS = ["3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4"]
QUICK = RequestSettings(timeout_seconds=5.0, n_attempts=3, retry_seconds=0.01)


def write_scorer(kind: Kind, policy: Path, folder: Path, *, is_reward: bool = False) -> Path:
    torch.manual_seed(7)
    model, encoding = build_scorer(kind, ScorerConfig(rows=Path(), output=Path(), model=str(policy)))
    torch.nn.init.normal_(model.score.weight, std=0.3)
    if is_reward:
        model.config.problem_type = "regression"
    facts = CheckpointFacts(kind, encoding.facts, "none", "min", is_reward=is_reward)
    save_scorer(model, encoding, facts, folder)
    store_calibration(folder, Calibration("platt", 1.5, -0.25), ())
    return folder


@pytest.fixture(scope="module")
def folders(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "prm": write_scorer("prm", tiny_policy, tmp_path_factory.mktemp("prm")),
        "orm": write_scorer("orm", tiny_policy, tmp_path_factory.mktemp("orm")),
        "reward": write_scorer("orm", tiny_policy, tmp_path_factory.mktemp("reward"), is_reward=True),
    }


@pytest.fixture
def prm(folders: dict[str, Path]) -> Path:
    return folders["prm"]


@pytest.fixture(scope="module")
def network(folders: dict[str, Path]) -> Any:
    return load_checkpoint(str(folders["prm"])).model


@pytest.fixture(scope="module")
def wanted(folders: dict[str, Path]) -> list[float]:
    """The scores of the steps by the PRM in this process."""
    return score(QUESTION, STEPS, load_scorer(str(folders["prm"])))


@pytest.fixture
def server(network: Any) -> Iterator[PoolingServer]:
    with serve(network) as found:
        yield found


def connect(path: Path, *servers: PoolingServer, **settings: Any) -> ServedScorer:
    """What the probes sent is forgotten."""
    scorer = connect_scorer(
        str(path), tuple(each.url for each in servers), **({"settings": QUICK} | settings)
    )
    for each in servers:
        each.bodies.clear()
    return scorer


async def in_session(scorer: Scorer, ask: Callable[[ScoringTree], Any]) -> Any:
    async with scorer.session(QUESTION) as tree:
        return await ask(tree)


def run(scorer: Scorer, ask: Callable[[ScoringTree], Any]) -> Any:
    return asyncio.run(in_session(scorer, ask))


def grow(tree: ScoringTree, steps: Sequence[str]) -> list[Any]:
    nodes = [tree.root]
    for step in steps:
        nodes.append(tree.extend(nodes[-1], step))
    return nodes


# --- the same scores


@pytest.mark.parametrize("kind", ["prm", "orm", "reward"])
def test_scores_are_those_of_the_scorer_in_this_process(folders: dict[str, Path], kind: str) -> None:
    folder = folders[kind]
    local = load_scorer(str(folder))
    steps = [*STEPS, "two\npieces"]
    wanted = score(QUESTION, steps, local)
    with serve(load_checkpoint(str(folder)).model) as server:
        served = connect(folder, server)
        found = score(QUESTION, steps, served)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(server.bodies) == 1
    assert served.scores_steps == local.scores_steps
    assert served.aggregation == local.aggregation
    assert served.context_length == 256
    if kind == "prm":
        assert max(wanted) - min(wanted) > 0.01  # or any step's score would do


def test_step_pooling_is_read_at_the_last_marker_of_each_step(prm: Path) -> None:
    checkpoint = load_checkpoint(str(prm))
    assert isinstance(checkpoint.encoding, ScorerEncoding)
    steps = ["3 plus 4 = 7\n7 times 2 = 14", "Answer: 7 4"]  # three markers
    with serve(checkpoint.model, step_tag_id=checkpoint.encoding.marker_id) as server:
        found = score(QUESTION, steps, connect(prm, server))
    assert found == pytest.approx(score(QUESTION, steps, load_scorer(str(prm))), abs=1e-6)


def test_a_token_classifier_of_trls_trainer_is_served_as_it_is(tmp_path: Path) -> None:
    published = build_trl(tmp_path)
    local = load_scorer(str(tmp_path), prm_format=published.prm_format)
    with serve(load_trl_network(tmp_path)) as server:
        served = connect(tmp_path, server, prm_format=published.prm_format)
        assert score(QUESTION, STEPS, served) == pytest.approx(score(QUESTION, STEPS, local), abs=1e-6)


def load_trl_network(folder: Path) -> Any:
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(folder)


@pytest.mark.parametrize("strategy", ["beam:width=2", "weighted"])
def test_a_question_is_answered_as_with_the_scorer_in_this_process(
    prm: Path, server: PoolingServer, strategy: str
) -> None:
    question, policy = "Start with 4: plus 9, times 6.", prm_train.load_policy("simulated")

    def answer(scorer: Scorer) -> prm_train.Answer:
        return prm_train.solve(question, policy, scorer, strategy, 4, grader="arithmetic")

    wanted, found = answer(load_scorer(str(prm))), answer(connect(prm, server))
    assert (found.answer, found.steps) == (wanted.answer, wanted.steps)
    assert found.scores == pytest.approx(wanted.scores, abs=1e-6)
    assert found.cost.scorer.n_new == sum(server.lengths)


# --- what is sent, and what it is said to cost


def test_a_request_brings_all_scores_of_its_path_and_none_is_asked_for_twice(
    prm: Path, server: PoolingServer
) -> None:
    async def ask(tree: ScoringTree) -> list[ScorerUsage]:
        nodes, usages = grow(tree, STEPS), []
        await asyncio.gather(*(tree.score(node) for node in reversed(nodes[1:])))
        usages.append(tree.usage)
        await tree.score(nodes[1])
        usages.append(tree.usage)
        await tree.score(tree.extend(nodes[2], "another"))
        return [*usages, tree.usage]

    scorer = connect(prm, server)
    first, again, last = run(scorer, ask)
    head, *steps = (
        len(ids) for ids in (scorer.encode_head(QUESTION), *map(scorer.encode_step, [*STEPS, "another"]))
    )
    n, n_other = head + sum(steps[:3]), head + steps[0] + steps[1] + steps[3]
    assert server.lengths == [n, n_other]
    assert first == again == ScorerUsage(n_new=n)
    assert last == ScorerUsage(n_new=n + n_other, n_rescored=head + steps[0] + steps[1])
    assert first.n_pairs == n * (n + 1) // 2


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_a_method_that_asks_for_the_steps_of_a_path_side_by_side_is_charged_for_it_once(
    prm: Path, server: PoolingServer, order: tuple[int, ...]
) -> None:
    """Also the second method, which finds the scores in the tree and waits for none."""

    async def ask(scorer: SharedScorer) -> ScorerUsage:
        async with scorer.session(QUESTION) as tree:
            nodes = grow(tree, STEPS)
            await asyncio.gather(*(tree.score(nodes[number]) for number in order))
            return tree.usage

    async def both() -> list[ScorerUsage]:
        async with SharedScorer(connect(prm, server)) as shared:
            return [await ask(shared), await ask(shared), shared.usage]

    costs = asyncio.run(both())
    assert costs == [ScorerUsage(n_new=sum(server.lengths))] * 3
    assert len(server.bodies) == 1


def test_a_step_of_a_path_that_is_under_way_waits_for_it(prm: Path, server: PoolingServer) -> None:
    async def ask(tree: ScoringTree) -> None:
        nodes = grow(tree, STEPS)
        whole = asyncio.create_task(tree.score(nodes[-1]))
        while not server.bodies:
            await asyncio.sleep(0.01)
        await tree.score(nodes[1])
        await whole

    scorer, server.seconds = connect(prm, server), 0.2
    run(scorer, ask)
    assert len(server.bodies) == 1


def test_a_path_is_charged_whole(prm: Path, server: PoolingServer) -> None:
    async def ask(tree: Any) -> tuple[int, ...]:
        return tree.path_tokens(grow(tree, STEPS))

    scorer = connect(prm, server)
    n = sum(map(len, (scorer.encode_head(QUESTION), *map(scorer.encode_step, STEPS))))
    assert run(scorer, ask) == (n,)


def test_paths_are_under_way_side_by_side_up_to_the_bound_and_servers_share_them(
    prm: Path, server: PoolingServer
) -> None:
    async def ask(tree: ScoringTree) -> None:
        await asyncio.gather(*(tree.score(tree.extend(tree.root, f"{n} plus 4")) for n in range(12)))

    with serve(server.model) as other:
        scorer = connect(prm, server, other, settings=RequestSettings(max_concurrency=3))
        server.seconds, other.seconds = 0.5, 0.05
        run(scorer, ask)
    assert (server.n_open_at_most, other.n_open_at_most) == (3, 3)
    assert len(server.bodies) + len(other.bodies) == 12
    assert len(other.bodies) > len(server.bodies)  # it was the quicker one


def test_a_solution_of_a_file_is_one_request(
    prm: Path,
    server: PoolingServer,
    wanted: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"question": QUESTION, "steps": STEPS}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    main(
        [
            *("--rows", str(tmp_path / "rows.jsonl"), "--checkpoint", str(prm)),
            *("--output", str(tmp_path / "scored.jsonl"), "--scorer.servers", server.url),
        ]
    )
    found = json.loads((tmp_path / "scored.jsonl").read_text())["scores"]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(server.bodies) == 2 + 1  # two probes
    assert f"{server.lengths[-1]:,}" in capsys.readouterr().out


def test_each_event_loop_has_connections_of_its_own(prm: Path, server: PoolingServer) -> None:
    scorer = connect(prm, server)
    assert score(QUESTION, STEPS, scorer) == score(QUESTION, STEPS, scorer)
    assert len(server.bodies) == 2


# --- who it is


def test_the_id_is_of_name_calibration_and_weights_and_never_the_local_one(
    prm: Path, server: PoolingServer, tmp_path: Path
) -> None:
    found = connect(prm, server).scorer_id
    assert found == connect(prm, server).scorer_id
    copy = shutil.copytree(prm, tmp_path / "copy")
    assert connect(copy, server).scorer_id == found
    store_calibration(copy, Calibration("temperature", 2.0), ())
    ids = {found, load_scorer(str(prm)).scorer_id, connect(copy, server).scorer_id}
    (copy / "model.safetensors").unlink()
    ids.add(connect(copy, server).scorer_id)  # without weights it still scores
    server.name = "another"
    assert len(ids | {connect(prm, server).scorer_id}) == 5


def test_the_api_key_is_sent_and_not_shown(
    prm: Path, server: PoolingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_key = "sk-of-nobody-42"
    monkeypatch.setenv("SCORER_KEY", server.api_key)
    with pytest.raises(InputError, match="HTTP 401"):
        connect(prm, server)
    connect(prm, server, settings=RequestSettings(api_key_env="SCORER_KEY"))


# --- servers that are no scorers


def test_a_server_that_is_not_there_is_named_at_once(prm: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            InputError, match=rf"no server answers: {url}: no connection.*expected one or more"
        ):
            connect_scorer(str(prm), (url,), settings=RequestSettings())


def test_a_server_of_another_task_is_refused(folders: dict[str, Path], server: PoolingServer) -> None:
    with pytest.raises(InputError, match=r"HTTP 400 .*Unsupported task: 'classify'.*vllm serve --runner"):
        connect(folders["orm"], server)


def test_a_server_of_another_model_is_refused(prm: Path, server: PoolingServer) -> None:
    with pytest.raises(InputError, match=f"^{server.url}: serves prm; expected critic$"):
        connect(prm, server, model="critic")


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no rows", r"0 rows, expected one for each of \d+ tokens .*step_tag_id returns none\)"),
        ("a row too few", r"\d+ rows, expected one for each of \d+ tokens or for each of its 1 step markers"),
        ("three classes", "rows of 3 numbers, expected the 2 classes of a PRM"),
        ("numbers for rows", r"\d+ numbers, expected a row for each token of a PRM"),
        ("another prompt", r"usage of (\d+) prompt tokens, expected the \d+ that were sent"),
        ("two paths", "data of 2 paths, expected 1"),
        ("NaN", r"\[nan, nan\] at token \d+, expected finite numbers"),
        ("null", "bytes that are no pooling: data.0.data.* valid number"),
        ("ignores use_activation", r"for logits and .* for probabilities .*heeds use_activation"),
    ],
)
def test_a_server_that_returns_no_logits_is_refused_without_asking_again(
    prm: Path, server: PoolingServer, fault: str, told: str
) -> None:
    server.always = fault
    with pytest.raises(InputError, match=told) as refusal:
        connect(prm, server)
    assert str(refusal.value).startswith(server.url)
    assert "\n" not in str(refusal.value)
    assert len(server.bodies) == (2 if fault == "ignores use_activation" else 1)


def test_servers_that_score_otherwise_than_the_first_are_no_replicas(
    prm: Path, server: PoolingServer
) -> None:
    other_model = load_checkpoint(str(prm)).model
    with torch.no_grad():
        other_model.score.weight.neg_()
    with serve(other_model) as other, pytest.raises(InputError, match="expected replicas under one name"):
        connect(prm, server, other)


# --- servers that fail while scores are computed


@pytest.mark.hostile
@pytest.mark.parametrize(
    "fault", ["500", "503", "429", "NaN", "null", "a row too few", "no rows", "two paths"]
)
def test_what_fails_twice_is_asked_for_again(
    prm: Path, server: PoolingServer, wanted: list[float], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = connect(prm, server)
    server.faults.extend([fault, fault])
    with caplog.at_level(logging.WARNING):
        found = score(QUESTION, STEPS, scorer)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(server.bodies) == 3
    assert "trying again" in caplog.text


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("fault", "told"),
    [("500", "3 × .*HTTP 500"), ("NaN", r"3 × .*\[nan, nan\]"), ("a row too few", "3 × .* rows, expected")],
)
def test_what_always_fails_is_an_error_and_no_score(
    prm: Path, server: PoolingServer, wanted: list[float], fault: str, told: str
) -> None:
    async def ask(tree: ScoringTree) -> list[Any]:
        nodes = grow(tree, STEPS)
        found = await asyncio.gather(*(tree.score(node) for node in nodes[1:]), return_exceptions=True)
        assert tree.usage == ScorerUsage()
        server.always = ""
        return [*found, await tree.score(nodes[-1])]  # and may be asked for again

    scorer = connect(prm, server)
    server.always = fault
    *failed, recovered = run(scorer, ask)
    assert len(failed) == 3
    for error in failed:
        assert isinstance(error, ServerError)
        # What is no reply to a path may be the path's fault
        assert isinstance(error, ProblemFaultError) == (fault != "500")
    with pytest.raises(ServerError, match=f"^3 attempts failed: {told}"):
        raise failed[0]
    assert recovered == pytest.approx(wanted[-1], abs=1e-6)


@pytest.mark.hostile
def test_a_server_that_does_not_answer_in_time_is_given_up(prm: Path, server: PoolingServer) -> None:
    scorer = connect(
        prm, server, settings=RequestSettings(timeout_seconds=0.3, n_attempts=2, retry_seconds=0.01)
    )
    server.always = "slow"
    with pytest.raises(ServerError, match=r"2 attempts failed: 2 × .*no whole answer in 0\.3 s"):
        score(QUESTION, STEPS, scorer)


def test_another_server_takes_over_from_one_that_fails(
    prm: Path, server: PoolingServer, wanted: list[float]
) -> None:
    with serve(server.model) as other:
        scorer = connect(prm, server, other)
        server.always = "500"
        assert score(QUESTION, STEPS, scorer) == pytest.approx(wanted, abs=1e-6)
    assert (len(server.bodies), len(other.bodies)) == (1, 1)


def test_a_path_beyond_the_servers_context_is_never_sent(prm: Path, server: PoolingServer) -> None:
    server.max_model_len = 60
    scorer = connect(prm, server)

    async def ask(tree: ScoringTree) -> None:
        tree.extend(tree.root, "7 times 2 = 14, keep 4" * 9)

    with pytest.raises(PathTooLongError, match="longer than the scorer's context of 60"):
        run(scorer, ask)
    assert server.bodies == []


def test_a_session_that_ends_ends_its_requests(prm: Path, server: PoolingServer) -> None:
    async def ask() -> BaseException | None:
        async with scorer.session(QUESTION) as tree:
            waiting = asyncio.create_task(tree.score(grow(tree, STEPS)[-1]))
            while not server.bodies:
                await asyncio.sleep(0.01)
        await asyncio.wait([waiting])
        return waiting.exception()

    scorer = connect(prm, server)
    server.seconds = 0.5
    error = asyncio.run(ask())
    assert isinstance(error, RuntimeError)
    assert "closed before this score was computed" in str(error)
    server.seconds = 0.0
    assert len(score(QUESTION, STEPS, scorer)) == 3  # the next session is none the worse


# --- settings


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"servers": ("http://a:1",), "device": "cuda"}, "device: has no effect with servers"),
        ({"servers": ("http://a:1",), "dtype": "bfloat16"}, "dtype: has no effect with servers"),
        ({"server_model": "prm"}, "server_model: has no effect without servers"),
        ({"servers": ("a:1",)}, "servers: got 'a:1', expected a URL"),
        ({"servers": ("http://a:1",), "n_attempts": 0}, "n_attempts: got 0, expected more than 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WhereScorersRun(**settings)


def test_servers_hold_one_of_prm_and_orm() -> None:
    where = WhereScorersRun(servers=("http://a:1",))
    for name, told in ((None, "got no scorer"), ("folder", "got prm and orm")):
        with pytest.raises(ValueError, match=rf"scorer\.servers: made for one scorer, {told}"):
            SearchConfig(output=Path("unused"), scorer=where, prm=name, orm=name)


def test_a_kind_that_no_server_pools_is_refused(prm: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(prm, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["prm_train"]["kind"] = "generative_verifier"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match="servers pool no scores of a checkpoint of kind generative_verifier"
    ):
        connect_scorer(str(copy), ("http://127.0.0.1:9",))


def test_a_model_whose_positions_depend_on_the_length_wants_servers_that_stay_below_it(
    prm: Path, server: PoolingServer, tmp_path: Path
) -> None:
    copy = shutil.copytree(prm, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["rope_parameters"] = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 64,
    }
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"beyond 64 tokens \(LongRoPE\).*a max_model_len of 64"):
        connect(copy, server)
    server.max_model_len = 64
    assert connect(copy, server).context_length == 64
