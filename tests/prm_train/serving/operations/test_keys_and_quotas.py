"""Who may ask, and how often: keys of a file, limits by the minute and the day, prices."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.settings.errors import InputError
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import ScorerUsage
from prm_train.serving.answering import Models
from prm_train.serving.chats import AskedPolicy
from prm_train.serving.operations.accounts import CURRENT, Account, Accounts, charge
from prm_train.serving.operations.api_keys import ApiKey, digest_of, key_ring, read_keys
from prm_train.serving.operations.settings import Quota
from prm_train.serving.scoring_sessions import ScoringSession, SessionLimits
from tests.data_gen.test_serve_policy import EndlessPolicy
from tests.prm_train.serving.conftest import QUESTION, STEPS, config_of, serving
from tests.prm_train.serving.test_operations import wait_for
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

ALICE, BOB, EVE = "a-key-of-alice-0123", "a-key-of-bob-4567890", "a-key-of-eve-5678901"
MALLORY = "a-key-of-mallory-123"


def write_keys(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def keys_file(folder: Path) -> Path:
    digest = hashlib.sha256(BOB.encode()).hexdigest()
    return write_keys(
        folder / "keys.yaml",
        f"keys:\n  - name: alice\n    key: {ALICE}\n    requests_per_minute: 2\n"
        f"  - name: bob\n    sha256: {digest}\n    tokens_per_day: 5\n"
        f"  - name: eve\n    key: {EVE}\n    tokens_per_day: 5\n"
        f"  - name: mallory\n    key: {MALLORY}\n    tokens_per_day: 5\n",
    )


def test_keys_have_the_quota_of_the_server_where_they_have_none(tmp_path: Path) -> None:
    default = Quota(requests_per_minute=9, tokens_per_day=100)
    assert read_keys(keys_file(tmp_path), default) == (
        ApiKey("alice", digest_of(ALICE), Quota(requests_per_minute=2, tokens_per_day=100)),
        ApiKey("bob", digest_of(BOB), Quota(requests_per_minute=9, tokens_per_day=5)),
        ApiKey("eve", digest_of(EVE), Quota(requests_per_minute=9, tokens_per_day=5)),
        ApiKey("mallory", digest_of(MALLORY), Quota(requests_per_minute=9, tokens_per_day=5)),
    )


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (f"keys: [{{name: a, key: {ALICE}}}]", 0o644, "has mode 644, expected one that keeps others out"),
        (f"keys: [{{name: a, key: {ALICE}}}]", 0o620, "has mode 620"),
        ("keys: [", 0o600, ":1: not valid YAML"),
        ("", 0o600, "the file: Input should be a valid dictionary"),
        ("keys: []", 0o600, "keys: List should have at least 1 item"),
        ("keys: [{name: a, key: short}]", 0o600, "keys.0.key: String should have at least 16"),
        (f"keys: [{{name: 'a b', key: {ALICE}}}]", 0o600, "keys.0.name: String should match"),
        ("keys: [{name: a, key: sixteen letters and more}]", 0o600, "keys.0.key: String should match"),
        ("keys: [{name: a, key: 12345678901234567890}]", 0o600, "keys.0.key: Input should be a valid string"),
        ("keys: [{name: a}]", 0o600, "a: expected one of key and sha256"),
        (f"keys: [{{name: a, key: {ALICE}, tokens_per_day: 0}}]", 0o600, "keys.0.tokens_per_day: Input"),
        (f"keys: [{{name: a, key: {ALICE}, tokens: 1}}]", 0o600, "keys.0.tokens: Extra inputs"),
        (f"keys: [{{name: a, key: {ALICE}}}, {{name: a, key: {BOB}}}]", 0o600, "got a name twice"),
        (f"keys: [{{name: a, key: {ALICE}}}, {{name: b, key: {ALICE}}}]", 0o600, "got a key twice"),
    ],
)
def test_a_file_of_keys_that_will_not_do_is_refused_without_showing_a_key(
    tmp_path: Path, text: str, mode: int, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        read_keys(write_keys(tmp_path / "keys.yaml", text, mode), Quota())
    assert message in str(refused.value)
    assert not any(key in str(refused.value) for key in (ALICE, BOB, "12345678901234567890"))


@pytest.mark.parametrize("line", [f"name: environment, key: {ALICE}", f"name: a, key: {BOB}"])
def test_the_key_of_the_environment_shares_its_account_with_no_other(tmp_path: Path, line: str) -> None:
    path = write_keys(tmp_path / "keys.yaml", f"keys: [{{{line}}}]")
    with pytest.raises(InputError, match="holds the key of api_key_env, or one that is named as it is"):
        key_ring(config_of(None, strategy="majority", api_keys=path), BOB)


def test_limits_are_those_of_the_clocks_minute_and_day() -> None:
    now = 1_000_000 * 86_400.0 + 50  # 50 s after midnight
    account = Account("alice", Quota(requests_per_minute=2, tokens_per_day=10), lambda: now)

    def refused() -> tuple[str, int | None]:
        with pytest.raises(BadRequestError) as error:
            account.admit()
        assert error.value.status == 429
        return str(error.value).partition(";")[0], error.value.retry_seconds

    account.admit()
    account.charge(9)
    account.admit()
    assert refused() == ("quota of alice: requests_per_minute is 2, all used", 11)
    now += 10
    account.admit()
    account.charge(1)
    assert refused() == ("quota of alice: tokens_per_day is 10, all used", 86_400 - 60 + 1)
    now += 86_400 - 60
    account.admit()


def test_tokens_are_charged_to_who_asked_also_from_tasks_of_the_request() -> None:
    accounts = Accounts(Quota(tokens_per_day=1))
    one, other = accounts.of(None), accounts.of(ApiKey("bob", b"", Quota(tokens_per_day=1)))
    assert accounts.of(None) is one

    async def request() -> None:
        CURRENT.set(one)
        await asyncio.create_task(task())

    async def task() -> None:
        charge(1)

    asyncio.run(request())
    with pytest.raises(BadRequestError, match="quota of anybody"):
        one.admit()
    other.admit()


class HalfTold(EndlessPolicy):
    """Tells three ids of each draw, and never ends it."""

    async def sample_told(
        self,
        prefix_ids: tuple[int, ...],
        params: SamplingParams,
        index: int,
        tell: Callable[[Sequence[int]], None],
    ) -> Completion:
        for n in range(1, 4):
            tell([0] * n)
        return await super().sample(prefix_ids, params, index)


@pytest.mark.hostile
def test_who_reads_a_text_and_goes_away_before_its_end_pays_for_what_was_written() -> None:
    account = Account("alice", Quota(tokens_per_day=3))

    async def request() -> None:
        CURRENT.set(account)
        policy = AskedPolicy(HalfTold(), (0,), lambda before_ids, token_ids: None)
        task = asyncio.create_task(policy.sample((0,), SamplingParams(8), 0))
        await asyncio.sleep(0)
        account.admit()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(request())
    with pytest.raises(BadRequestError, match="tokens_per_day is 3, all used"):
        account.admit()


def test_keys_and_their_quotas_over_http(prm: Path, reload: Models, tmp_path: Path) -> None:
    prices = {"price_per_million_generated": 3e5, "price_per_million_scored": 1e5}
    config = config_of(prm, api_keys=keys_file(tmp_path), **prices)
    with serving(config, reload, key="of-the-environment") as server:

        def ask(key: str, **search: object) -> tuple[int, dict]:
            body = {"prompt": QUESTION, "seed": 1, "search": {"strategy": "weighted", "n": 1, **search}}
            headers = {"Authorization": f"Bearer {key}"}
            reply = server.post("/v1/completions", body, headers=headers)
            return reply.status_code, {**reply.json(), "retry": reply.headers.get("Retry-After")}

        for wrong in (f"{ALICE}x", ALICE[:-1], "x", ALICE.upper()):
            assert ask(wrong)[0] == 401
        status, first = ask(ALICE)
        assert status == 200
        usage = first["usage"]
        n_generated, n_scored = usage["completion_tokens"], usage["search_details"]["scorer_tokens"]
        assert n_scored > 0
        assert usage["cost"] == pytest.approx(0.3 * n_generated + 0.1 * n_scored)
        assert ask(ALICE)[0] == 200
        status, refused = ask(ALICE)
        assert status == 429
        assert refused["error"]["message"].startswith("quota of alice: requests_per_minute is 2, all used")
        assert 1 <= int(refused["retry"]) <= 60
        # The first requests of the others take all of their tokens; the key of the environment has no limit
        scores = {"question": QUESTION, "steps": [STEPS[0]]}
        bob = {"Authorization": f"Bearer {BOB}"}
        assert server.post("/v1/score", scores, headers=bob).status_code == 200
        assert server.post("/v1/score", scores, headers=bob).status_code == 429
        eve = {"Authorization": f"Bearer {EVE}"}
        pooled = [server.post("/pooling", {"input": [5] * 5}, headers=eve).status_code for _ in range(2)]
        assert pooled == [200, 429]
        assert server.client.get(f"{server.url}/v1/models", headers=bob).status_code == 200
        assert [ask(MALLORY, strategy="majority")[0] for _ in range(2)] == [200, 429]
        lacking = ask("of-the-environment", n=8, window=1, budget_money=1.0)[1]
        assert lacking["error"]["message"] == (
            "budget_money: got no price_per_million_prompt, expected a price of 0 or more"
        )


@pytest.mark.hostile
def test_one_key_cannot_take_the_sessions_of_all(prm: Path, reload: Models, tmp_path: Path) -> None:
    """Eight sessions and five keys: each may have two, a quarter, until all eight are open."""
    config = config_of(prm, api_keys=keys_file(tmp_path), max_sessions=8, session_idle_seconds=40.0)
    with serving(config, reload, key="of-the-environment") as server:

        def open_one(key: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}"}
            return server.post("/v1/score/sessions", {"question": QUESTION}, headers=headers)

        assert [open_one(BOB).status_code for _ in range(2)] == [201, 201]
        refused = open_one(BOB)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "40")
        assert refused.json()["error"]["message"] == (
            "sessions: 2 of this key are open, expected one of them to be closed first (DELETE)"
        )
        others = (EVE, EVE, MALLORY, MALLORY, "of-the-environment", "of-the-environment", ALICE)
        assert [open_one(key).status_code for key in others] == [201] * 6 + [429]
        with pytest.raises(ValueError, match="max_sessions_per_key: got 9, expected 1 to max_sessions, 8"):
            config_of(prm, max_sessions=8, max_sessions_per_key=9)


@pytest.mark.hostile
def test_who_goes_away_from_pooling_leaves_the_rest_uncomputed_and_pays_for_the_start(
    prm: Path, reload: Models, tmp_path: Path
) -> None:
    """Forty paths of five tokens, of which each takes a twentieth of a second."""
    assert isinstance(reload.scorer, IncrementalScorer)
    n_computed = 0

    def count(*_: object) -> None:
        nonlocal n_computed
        n_computed += 1
        time.sleep(0.05)

    hook = reload.scorer.model.register_forward_hook(count)
    bob = {"Authorization": f"Bearer {BOB}"}
    with hook, serving(config_of(prm, api_keys=keys_file(tmp_path)), reload) as server:
        with pytest.raises(httpx.ReadTimeout):
            server.post("/pooling", {"input": [[5] * 5] * 40}, headers=bob, timeout=0.3)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
        n_after = n_computed
        time.sleep(0.15)
        assert n_computed - n_after <= 1
        assert n_computed < 20
        assert server.post("/pooling", {"input": [5]}, headers=bob).status_code == 429


class StuckScorer(ScriptedScorer):
    """Computes seven tokens for each score, and never says it."""

    async def score(self, node: tuple[str, ...]) -> float:
        self.usage += ScorerUsage(n_new=7)
        await asyncio.Event().wait()
        return 0.0


@pytest.mark.hostile
def test_a_scoring_session_is_of_one_key_which_pays_for_it_though_it_goes_away(
    reload: Models, tmp_path: Path
) -> None:
    models = Models(reload.policy, StuckScorer(lambda steps: 0.0), reload.reader)
    config = config_of(None, strategy="majority", api_keys=keys_file(tmp_path))
    bob, eve = ({"Authorization": f"Bearer {key}"} for key in (BOB, EVE))
    with serving(config, models) as server:
        opened = server.post("/v1/score/sessions", {"question": QUESTION}, headers=bob).json()
        path = f"/v1/score/sessions/{opened['id']}"
        for method in ("GET", "DELETE"):
            assert server.client.request(method, server.url + path, headers=eve).status_code == 404
        steps = {"steps": [{"step": STEPS[0]}], "score": True}
        assert server.post(f"{path}/extend", steps, headers=eve).status_code == 404
        with pytest.raises(httpx.ReadTimeout):
            server.post(f"{path}/extend", steps, headers=bob, timeout=0.5)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
        assert server.post(f"{path}/score", {"nodes": [1]}, headers=bob).status_code == 429
        shown = server.client.get(server.url + path, headers=bob).json()
        assert shown["usage"]["prompt_tokens"] == 7
        body = {"question": QUESTION, "steps": STEPS[:1]}
        with pytest.raises(httpx.ReadTimeout):
            server.post("/v1/score", body, headers=eve, timeout=0.5)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
        assert server.post("/v1/score", body, headers=eve).status_code == 429


@pytest.mark.hostile
def test_who_goes_away_before_the_answer_pays_for_the_scores_of_the_search(
    reload: Models, tmp_path: Path
) -> None:
    policy = ScriptedPolicy(lambda text, index: "7")
    models = Models(policy, StuckScorer(lambda steps: 0.0), reload.reader)
    bob = {"Authorization": f"Bearer {BOB}"}
    with serving(config_of(None, strategy="majority", api_keys=keys_file(tmp_path)), models) as server:
        body = {"prompt": QUESTION, "search": {"strategy": "weighted", "n": 1}}
        with pytest.raises(httpx.ReadTimeout):
            server.post("/v1/completions", body, headers=bob, timeout=0.5)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
        assert server.post("/v1/completions", body, headers=bob, timeout=5).status_code == 429


def test_what_a_session_computed_is_charged_once_to_requests_side_by_side() -> None:
    scorer = ScriptedScorer(lambda steps: 1.0)
    session = ScoringSession("s", scorer, AsyncExitStack(), SessionLimits(1, 1, 1, 1, 1.0))
    scorer.usage = ScorerUsage(n_new=7)
    assert (session.take_uncharged(), session.take_uncharged()) == (7, 0)


def test_a_budget_in_money_counts_what_the_scorer_computes(prm: Path, reload: Models) -> None:
    prices = dict.fromkeys(("price_per_million_generated", "price_per_million_prompt"), 0.0)
    config = config_of(prm, **prices, price_per_million_scored=1e6)
    with serving(config, reload) as server:
        search = {"strategy": "weighted", "n": 8, "window": 1}
        hard = "Start with 3: knead 4 7, fold 5, mix 9, knead 2 8."
        whole = server.chat(hard, seed=1, search=search)
        part = server.chat(hard, seed=1, search={**search, "budget_money": whole["usage"]["cost"] / 2})
        assert part["search"]["stopped"] == "budget_money"
        assert 0 < part["search"]["n_voters"] < 8
        assert part["usage"]["cost"] == part["usage"]["search_details"]["scorer_tokens"]
