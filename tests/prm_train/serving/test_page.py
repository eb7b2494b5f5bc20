"""The page at `/` in a real browser: what people see, with a mouse, a keyboard and a screen reader."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from prm_train.serving.answering import Models
from prm_train.serving.app import ServeApp
from prm_train.serving.page_endpoint import document
from tests.app_in_thread import in_thread
from tests.browser import CHROMIUM, Browser, browsing
from tests.data_gen.test_serve_policy import EndlessPolicy
from tests.prm_train.serving.conftest import QUESTION, Served, config_of, serving
from tests.prm_train.serving.test_operations import wait_for

DONE = "document.documentElement.dataset.state === 'done'"
READY = "document.documentElement.dataset.state === 'ready'"
WITHIN = "document.documentElement.scrollWidth <= innerWidth"
MARKUP = "<img src=x onerror=alert(1)><|end|></script><b>Start</b>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the page cannot be looked at")
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, served: Served) -> Browser:
    browser.requests.clear()
    browser.faults.clear()
    browser.open(f"{served.url}/")
    browser.wait(READY)
    return browser


def ask(page: Browser, question: str) -> None:
    """With the keyboard alone."""
    page.run("find('question').focus()")
    page.type(question)
    page.press("Enter", modifiers=2)
    page.wait(DONE)


def test_who_asks_sees_the_tree_and_the_answer_and_nothing_is_fetched_from_elsewhere(
    page: Browser, served: Served
) -> None:
    page.run("find('seed').value = '3'")
    ask(page, QUESTION)
    wanted = served.chat(seed=3, search={"return_steps": True})
    found = wanted["search"]
    assert page.run("document.querySelector('.answer').textContent") == found["answer"]
    confidence = f"{100 * found['confidence']:.0f}\N{NO-BREAK SPACE}% of the vote, seed 3"
    assert page.run("document.querySelector('.confidence').textContent") == confidence
    chosen = (
        "[...document.querySelectorAll('.tree .chosen > .step .text')].map((each) => each.firstChild.data)"
    )
    assert page.run(chosen) == [step["text"] for step in found["steps"]]
    scores = page.run("[...document.querySelectorAll('.steps .score')].map((each) => each.textContent)")
    assert scores == [f"{step['score']:.2f}" for step in found["steps"]]
    costs = page.run("document.querySelector('.cost').innerText")
    assert f"{wanted['usage']['completion_tokens']:,} tokens" in costs
    facts = page.run("[...document.querySelectorAll('.facts')].map((each) => each.textContent)")
    assert any("finished, weight" in each for each in facts)
    said = page.run("find('status').textContent")
    assert said.startswith(f"particle_filter, N = 4: {found['answer']}, ")
    assert page.requests
    assert [url for url in page.requests if not url.startswith(f"{served.url}/")] == []
    assert page.faults == []


def test_strategies_stand_side_by_side_and_on_a_phone_below_each_other(page: Browser) -> None:
    page.run(f"find('question').value = '{QUESTION}'; find('seed').value = '3'")
    page.run("find('add').click()")
    page.run("find('add').click()")
    names = ["majority", "beam", "weighted"]
    for place, name in enumerate(names):
        page.run(f"document.querySelectorAll('.strategy')[{place}].value = '{name}'")
    page.run("document.querySelectorAll('.given')[1].value = 'width=2'")
    page.run("document.querySelectorAll('.n')[2].value = '1'")
    page.run("find('ask').click()")
    page.wait(DONE)
    heads = page.run("[...document.querySelectorAll('thead th')].map((each) => each.textContent)")
    assert heads == ["majority", "beam:width=2", "weighted"]
    answers = page.run("[...document.querySelectorAll('.answer')].map((each) => each.textContent)")
    row = page.run("[...find('compared').querySelectorAll('tbody tr')][1].innerText.split('\\t').slice(1)")
    assert row == answers
    tops = "new Set([...document.querySelectorAll('article')].map((each) => each.offsetTop)).size"
    assert (page.run(tops), page.run(WITHIN)) == (1, True)
    page.resize(390)
    assert (page.run(tops), page.run(WITHIN)) == (3, True)


def test_stop_ends_the_draws_and_asking_again_begins_anew(browser: Browser, reload: Models) -> None:
    policy = EndlessPolicy()
    models = Models(policy, None, reload.reader)
    with serving(config_of(None, strategy="majority"), models) as server:
        browser.open(f"{server.url}/")
        browser.wait(READY)
        browser.run("find('question').value = 'x'; find('ask').click()")
        wait_for(lambda: policy.n_begun == 4)
        browser.run("find('ask').click()")
        wait_for(lambda: policy.n_cancelled == 4)
        browser.run("find('stop').focus(); find('stop').click()")
        browser.wait(DONE)
        assert browser.run("document.querySelectorAll('[role=alert]:not([hidden])').length") == 1
        assert browser.run("document.querySelector('[role=alert]').innerText") == "Stopped."
        assert browser.run("document.activeElement.id") == "ask"
        wait_for(lambda: policy.n_cancelled == policy.n_begun == 8)


def test_a_wrong_number_that_is_folded_away_is_shown(page: Browser) -> None:
    page.run("find('question').value = 'x'; find('max_tokens').value = '0'; find('ask').click()")
    assert page.run("find('more').open")
    assert page.run("document.activeElement.id") == "max_tokens"
    assert page.run("document.documentElement.dataset.state") == "ready"


@pytest.mark.hostile
def test_markup_in_a_question_is_text(page: Browser) -> None:
    page.resize(390)
    page.run("document.querySelector('.n').value = '1'")
    ask(page, MARKUP + "9" * 300)
    assert page.run("find('results').querySelectorAll('img, b, script').length") == 0
    assert page.run(WITHIN)
    assert page.faults == []
    assert {url.partition("?")[0].rpartition("/")[2] for url in page.requests} <= {
        "",
        "strategies",
        "completions",
    }


def test_what_the_server_sends_is_shown_as_text(page: Browser) -> None:
    """Whatever a model writes, in each place where the page shows it."""
    step = {"event": "step", "node": 0, "parent": None, "text": MARKUP, "state": "finished", "score": None}
    usage = {"completion_tokens": 1, "search_details": {"prefilled_tokens": 1, "cached_tokens": 1}}
    search = {"answer": MARKUP, "confidence": 1, "shares": {MARKUP: 1}, "strategy": MARKUP, "n": 1, "seed": 1}
    search |= {
        "steps": [{"text": MARKUP, "score": 1}],
        "stopped": MARKUP,
        "route": {"path": MARKUP, "reason": "sure"},
    }
    paths = [{"node": 0, "answer": MARKUP, "weight": 1}]
    page.run(f"""(() => {{
        const column = new Column({{ search: {{}} }});
        find('results').append(column.article);
        column.write({MARKUP!r});
        column.progress({{ ...{json.dumps(step)}, n_draws: 1 }});
        column.progress({{ event: 'search', strategy: {MARKUP!r}, n: 1 }});
        column.progress({{ event: 'vote', paths: {json.dumps(paths)} }});
        column.end({{ search: {json.dumps(search)}, usage: {json.dumps(usage)} }});
        column.fail({MARKUP!r});
        compare([column]);
        say({MARKUP!r});
    }})()""")
    assert page.run("document.querySelectorAll('main img, main b, main script').length") == 0
    assert page.run("document.body.textContent.split('<img').length - 1") >= 8
    assert page.faults == []


def test_a_refusal_is_said_in_the_servers_words(page: Browser) -> None:
    page.run("document.querySelector('.given').value = 'width=2'")  # a particle filter has none
    ask(page, QUESTION)
    error = page.run("document.querySelector('[role=alert]').innerText")
    assert "width" in error
    assert error in page.run("find('status').textContent")


def test_a_policy_and_a_scorer_are_chosen_where_there_are_several(page: Browser) -> None:
    page.run("welcome({ ...server, models: ['small', 'large'], scorers: ['prm'] })")
    shown = "[find('model'), find('scorer')].map((select) => !select.parentElement.hidden)"
    assert page.run(shown) == [True, False]
    asked = "[bodies()[0].model ?? null, bodies()[0].search.scorer ?? null]"
    assert page.run(asked) == [None, None]  # the server's own need no name
    page.run("find('model').value = 'large'")
    assert page.run(asked) == ["large", None]


def test_every_field_has_a_name_for_screen_readers_and_tab_goes_from_one_to_the_next(page: Browser) -> None:
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in ("textbox", "combobox", "spinbutton", "button", "checkbox")
    ]
    assert ("textbox", "Question") in named
    assert ("combobox", "Strategy") in named
    assert [role for role, name in named if not name] == []
    page.run("find('question').focus()")
    visited = []
    for _ in range(6):
        page.press("Tab")
        visited.append(page.run("document.activeElement.id || document.activeElement.className || 'summary'"))
    assert visited == ["strategy", "n", "given", "add", "summary", "ask"]


def test_a_server_with_a_key_is_asked_with_it_and_the_page_keeps_it_nowhere(
    browser: Browser, reload: Models, prm: Path
) -> None:
    serve_app = ServeApp(config_of(prm), "secret")
    with in_thread(serve_app.app) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait(
            "find('status').textContent === 'The server is loading its models.' || !find('key-row').hidden"
        )
        serve_app.ready(reload)
        browser.wait("!find('key-row').hidden")
        for key in ("wrong", "secret"):
            browser.run(f"find('key').value = '{key}'; find('key').dispatchEvent(new Event('change'))")
            browser.wait("find('status').textContent.includes('no such')" if key == "wrong" else READY)
        ask(browser, QUESTION)
        assert browser.run("document.querySelector('.answer').textContent")
        assert browser.run("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_the_page_allows_its_own_script_alone_and_can_be_turned_off(
    served: Served, reload: Models, prm: Path
) -> None:
    reply = served.client.get(f"{served.url}/")
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    html, _ = document()
    assert reply.text == html
    assert not re.search(r"https?:|//[a-z]|url\(|@import|innerHTML|insertAdjacent|\son\w+=", html)
    with serving(config_of(prm, page=False), reload) as server:
        assert server.client.get(f"{server.url}/").status_code == 404


def test_strategies_are_those_that_work_here(served: Served, reload: Models) -> None:
    known = served.client.get(f"{served.url}/v1/strategies").json()
    assert (known["default"], known["max_n"]) == ({"strategy": "particle_filter", "n": 4}, 256)
    assert {"majority", "deepconf_online", "weighted", "mcts"} <= {each["id"] for each in known["data"]}
    alone = Models(reload.policy, None, reload.reader)
    with serving(config_of(None, strategy="majority"), alone) as server:
        known = httpx.get(f"{server.url}/v1/strategies").json()
        assert [each["id"] for each in known["data"]] == ["majority", "deepconf_online"]
