"""What the searches in a tree of a run did, kept beside its results, and its pages."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.records.sampling import FinishReason
from data_gen.settings.errors import InputError
from prm_train.search.results import read_results
from prm_train.search.run import main as search_run
from prm_train.search.show_tree import branches
from prm_train.search.show_tree import main as show_tree
from prm_train.search.traces import SearchTrace, read_traces
from prm_train.strategies.search_path import SearchPath
from prm_train.strategies.trace import TreeTrace


def search(folder: Path, prm: str, *arguments: str) -> None:
    small = (
        "--problems.n",
        "2",
        "--policy.model",
        "simulated",
        "--n_samples",
        "1",
        "--n_difficulty_draws",
        "1",
    )
    trees = ("--strategies", "beam:width=2,particle_filter", "--sizes", "2,4", "--max_new_tokens", "300")
    search_run(["--output", str(folder), "--prm", prm, *small, *trees, *arguments])


def paths(search: SearchTrace) -> set[str]:
    """The whole texts at finished steps."""
    texts = list[str]()
    for node in search.nodes:
        texts.append(("" if node.parent is None else texts[node.parent]) + node.text)
    reasons = (FinishReason.EOS, FinishReason.STOP)
    return {text for text, node in zip(texts, search.nodes, strict=True) if node.finish_reason in reasons}


def page(folder: Path, *arguments: str) -> str:
    show_tree(["--run", str(folder), "--output", str(folder / "tree.html"), *arguments])
    return (folder / "tree.html").read_text()


def test_a_path_has_the_weight_of_all_its_copies_and_one_that_is_not_returned_has_none() -> None:
    begun = SearchPath((1,), "a\n", (0.5,), step_logprobs=(-1.0,))
    ends = [
        replace(
            begun, token_ids=(1, number), text=f"a\n{number}", finish_reason=FinishReason.EOS, log_weight=-9.0
        )
        for number in range(3)
    ]
    trace = TreeTrace()
    trace.add(SearchPath(), [begun])
    trace.add(begun, ends)
    returned = [replace(ends[0], multiplicity=2), ends[0], replace(ends[1], log_weight=math.log(6) - 9)]
    trace.weigh(returned)
    (first,) = branches(trace.nodes)
    assert first.weight is None
    assert [each.weight for each in first.children] == [pytest.approx(0.5), pytest.approx(1.0), None]
    assert [each.weight for each in branches(trace.nodes[:1])] == [None]


def test_a_search_keeps_its_trees_through_a_kill_and_a_page_shows_each(
    tmp_path: Path, random_scorers: dict[str, str]
) -> None:
    prm, traces, results = random_scorers["prm"], tmp_path / "traces.jsonl", tmp_path / "results.jsonl"
    search(tmp_path, prm, "--trace", "true")
    found = {trace.problem_id: trace for trace in read_traces(traces)}
    searched = {result.problem.problem_id: result for result in read_results(results)}
    assert found.keys() == searched.keys()
    for name, trace in found.items():
        assert [(each.spec, each.n) for each in trace.searches] == [
            *(("beam:width=2", n) for n in (2, 4)),
            *(("particle_filter", n) for n in (2, 4)),
        ]
        for each in trace.searches:
            run = searched[name].trees[each.spec][each.n]
            finished = {candidate.text for candidate in run.candidates if candidate.is_finished}
            assert finished <= paths(each)

    # Killed before the second result was written, when its trace was, and while it wrote the trace
    whole = results.read_bytes()
    for cut in (0, 20):
        results.write_bytes(whole[:-20])
        traces.write_bytes(traces.read_bytes()[: len(traces.read_bytes()) - cut])
        search(tmp_path, prm, "--trace", "true")
        assert [trace.problem_id for trace in read_traces(traces)] == list(searched)

    name = list(searched)[1]
    shown = page(tmp_path, "--question", name, "--strategy", "particle_filter", "--n", "4")
    problem, run = searched[name].problem, searched[name].trees["particle_filter"][4]
    assert problem.question in shown
    assert f"Gold answer <b>{problem.gold_answer}</b>" in shown
    assert "particle_filter with N = 4" in shown or "No answer" in shown
    (last,) = [each for each in found[name].searches if (each.spec, each.n) == ("particle_filter", 4)]
    assert shown.count('<span class="text">') == len(last.nodes)
    verdicts = {
        each.text: "right" if each.is_correct else "wrong" for each in run.candidates if each.can_vote
    }
    assert verdicts
    for verdict in ("right", "wrong"):
        n_paths = sum(each == verdict for each in verdicts.values())
        assert shown.count(f', <b class="is-{verdict}">{verdict}</b>') == n_paths
    with pytest.raises(
        InputError, match=r"has beam:width=2 N = 2, beam:width=2 N = 4, particle_filter N = 2"
    ):
        page(tmp_path, "--strategy", "dvts")
    with pytest.raises(InputError, match="strategy: got 'bean', expected one of particle_filter"):
        page(tmp_path, "--strategy", "bean")
    with pytest.raises(InputError, match="no question p9"):
        page(tmp_path, "--question", "p9")

    search(tmp_path, prm)  # all is done: the traces stay
    assert {trace.problem_id for trace in read_traces(traces)} == set(searched)
    traces.unlink()
    with pytest.raises(InputError, match=r"a search without traces\.jsonl; expected one with trace: true"):
        page(tmp_path)
