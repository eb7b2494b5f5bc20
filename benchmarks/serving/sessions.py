"""Beam searches that score by HTTP sessions: which tokens they pay for, and whether the scores are right."""

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx

from benchmarks.scoring import SteppedPath, Workload, beam_search
from benchmarks.serving.sizes import Size
from data_gen.problems.arithmetic.rules import draw_chain
from prm_train.kinds.load import load_scorer
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.score import score
from prm_train.scoring.step_cache import StepNode


class Session:
    """A session of a server, which knows paths by the numbers of their nodes."""

    def __init__(self, client: httpx.Client, question: str) -> None:
        self._client = client
        self._url = f"/v1/score/sessions/{self._ask('/v1/score/sessions', {'question': question})['id']}"
        self._nodes: dict[SteppedPath, int] = {(): 0}

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._client.post(path, json=body)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def score(self, paths: list[SteppedPath]) -> dict[SteppedPath, float]:
        """The last score of each path, whose prefixes were scored before."""
        steps = [{"parent": self._nodes[path[:-1]], "step": path[-1]} for path in paths]
        said = self._ask(f"{self._url}/extend", {"steps": steps, "score": True})
        self._nodes |= dict(zip(paths, said["nodes"], strict=True))
        return dict(zip(paths, said["scores"], strict=True))

    def close(self) -> int:
        """How many tokens were computed for it."""
        reply = self._client.delete(self._url)
        reply.raise_for_status()
        return int(reply.json()["usage"]["prompt_tokens"])


def search(session: Session, workload: Workload) -> dict[SteppedPath, float]:
    found: dict[SteppedPath, float] = {}
    for paths in workload.rounds:
        found |= session.score(paths)
    return found


async def search_here(scorer: IncrementalScorer, workload: Workload) -> dict[SteppedPath, float]:
    """The same search by a session in this process."""
    found: dict[SteppedPath, float] = {}
    async with scorer.session(workload.question) as tree:
        nodes: dict[SteppedPath, StepNode] = {(): tree.root}
        for paths in workload.rounds:
            for path in paths:
                nodes[path] = tree.extend(nodes[path[:-1]], path[-1])
            scores = await asyncio.gather(*(tree.score(nodes[path]) for path in paths))
            found |= zip(paths, scores, strict=True)
    return found


def n_distinct(scorer: IncrementalScorer, question: str, paths: list[SteppedPath]) -> int:
    """Tokens of the tree of the paths, each prefix once."""
    prefixes = {path[:length] for path in paths for length in range(1, len(path) + 1)}
    steps = sum(len(scorer.encode_step(prefix[-1])) for prefix in prefixes)
    return len(scorer.encode_head(question)) + steps


def measure_sessions(url: str, prm: Path, size: Size) -> dict[str, Any]:
    scorer = load_scorer(str(prm))
    assert isinstance(scorer, IncrementalScorer)
    rng = random.Random(0)
    workloads = [beam_search(draw_chain(rng), rng) for _ in range(size.n_sessions)]
    n_computed = n_tokens = n_scores = 0
    by_session = by_whole_paths = 0.0
    with httpx.Client(base_url=url, timeout=600) as client:
        for workload in workloads:
            session = Session(client, workload.question)
            found = search(session, workload)
            n_computed += session.close()
            n_tokens += n_distinct(scorer, workload.question, list(found))
            here = asyncio.run(search_here(scorer, workload))
            for path, value in found.items():
                n_scores += 1
                by_session = max(by_session, abs(value - here[path]))
                whole = score(workload.question, list(path), scorer)[-1]
                by_whole_paths = max(by_whole_paths, abs(value - whole))
    return {
        "tokens_per_distinct": round(n_computed / n_tokens, 4),
        "scores_difference": by_session,
        "sessions": {
            "n_sessions": len(workloads),
            "n_scores": n_scores,
            "n_distinct_tokens": n_tokens,
            "difference_from_whole_paths": by_whole_paths,
        },
    }
