"""What a search does, as events of a stream: which step was drawn behind which, its score, which branches go
on, what it has cost so far. docs/serving.md describes them one by one.

A node is a text: draws that wrote the same share it. Samples are told like paths of a tree, a node for each
of their steps, so that what they begin with in common is seen. Nodes are numbered through the whole stream;
an event about a node that was told before replaces what was said of it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from data_gen.records.sampling import FinishReason
from data_gen.records.steps import join_steps, split_steps
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.search_path import SearchPath
from prm_train.strategies.trace import SearchWatch

OPEN, FINISHED, CUT = "open", "finished", "cut"  # may go on; ended by itself; ended by a limit
Event = dict[str, Any]
Place = tuple[str, bool]  # the text up to there, and whether it may go on: one that ended may have equal text


class Progress(SearchWatch):
    """Gives `tell` an event for whatever happens. `separator` ends the steps of a sample."""

    def __init__(self, tell: Callable[[Event], None], separator: str) -> None:
        self._tell, self._separator = tell, separator
        self._n_nodes = 0
        self._forget()

    def _forget(self) -> None:
        self._nodes: dict[Place, Event] = {}
        self._waiting: dict[int, None] = {}  # open nodes that have no next step, and were not said to be left
        self._drawn: set[int] = set()  # indices of samples
        self._spent = 0, 0

    def begin(self, strategy: str, n: int) -> None:
        self._forget()
        self._tell({"event": "search", "strategy": strategy, "n": n})

    def round(self, paths: Sequence[SearchPath], shares: Sequence[int]) -> None:
        n_draws = Counter[int | None]()
        for path, share in zip(paths, shares, strict=True):
            if share:
                n_draws[self._number(path.text)] += share
        left = [number for number in self._waiting if number not in n_draws]
        self._waiting.clear()
        kept = [{"node": number, "n_draws": n} for number, n in n_draws.items()]
        self._tell({"event": "round", "kept": kept, "left": left})

    def step(self, parent: SearchPath, child: SearchPath) -> None:
        state = CUT if child.finish_reason is FinishReason.LENGTH else OPEN if child.is_open else FINISHED
        score = child.scores[-1] if len(child.scores) > len(parent.scores) else None
        node = self._node((child.text, child.is_open), parent.text, child.text[len(parent.text) :], state)
        node["n_draws"] += 1
        node["score"] = score
        if child.is_open:
            self._waiting[node["node"]] = None
        self._tell(dict(node))

    def sample(self, candidate: Candidate) -> None:
        steps, is_new = split_steps(candidate.text, self._separator), candidate.index not in self._drawn
        self._drawn.add(candidate.index)
        [*inner, last] = self._line(candidate, steps or ("",))
        last["answer"] = candidate.answer
        scores = next(iter(candidate.scores.values()), ())
        known = (None,) * (len(inner) + 1 - len(scores)) + scores
        for node, score in zip((*inner, last), known, strict=True):
            is_known = not is_new and node["score"] == score
            node["n_draws"] += is_new
            node["score"] = node["score"] if score is None else score
            if not is_known:
                self._tell(dict(node))

    def _line(self, candidate: Candidate, steps: tuple[str, ...]) -> list[Event]:
        """A node for each step of a sample."""
        nodes, before = list[Event](), ""
        for place, step in enumerate(steps, 1):
            text = join_steps(steps[:place], self._separator)
            if place < len(steps):
                nodes.append(self._node((text, True), before, step, OPEN))
            else:
                state = FINISHED if candidate.is_finished else CUT
                nodes.append(self._node((candidate.text, False), before, step, state))
            before = text
        return nodes

    def spend(self, n_generated: int, n_scored: int) -> None:
        if (n_generated, n_scored) != self._spent:
            self._spent = n_generated, n_scored
            self._tell({"event": "cost", "generated_tokens": n_generated, "scorer_tokens": n_scored})

    def vote(self, candidates: Sequence[Candidate], weights: Sequence[float | None]) -> None:
        """The weights of all add up to 1; where all are 0, they count alike."""
        sums: dict[int, float] = {}
        voters = [
            (candidate, weight)
            for candidate, weight in zip(candidates, weights, strict=True)
            if weight is not None and candidate.can_vote
        ]
        is_flat = not any(weight for _, weight in voters)
        answers: dict[int, str | None] = {}
        for candidate, weight in voters:
            number = self._nodes[candidate.text, False]["node"]
            sums[number] = sums.get(number, 0.0) + (1.0 if is_flat else weight)
            answers[number] = candidate.answer
        total = sum(sums.values())
        paths = [
            {"node": number, "answer": answers[number], "weight": weight / total}
            for number, weight in sums.items()
        ]
        self._tell({"event": "vote", "paths": paths})

    def _node(self, place: Place, parent: str, text: str, state: str) -> Event:
        """The event of a node, which is made where nobody was told of it."""
        if place not in self._nodes:
            self._nodes[place] = {
                "event": "step",
                "node": self._n_nodes,
                "parent": self._number(parent),
                "text": text,
                "state": state,
                "score": None,
                "n_draws": 0,
            }
            self._n_nodes += 1
        return self._nodes[place]

    def _number(self, text: str) -> int | None:
        """Of what may go on; None for the question itself."""
        return self._nodes[text, True]["node"] if text else None
