"""OmegaPRM (Luo et al. 2024, arXiv 2406.06592): a tree of prefixes whose wrong rollouts are searched for
their first error.

The pseudo-code, with MC(s) = right / all rollouts from node s::

    root: the problem's own samples are its rollouts; pool = {(s, r): r a wrong rollout of s, 0 < MC(s) < 1}
    while pool, at most omega_searches times:
        (s, r) = pop argmax Q(s, r) + U(s);  Q = alpha^(1 - MC(s)) * beta^(len(r) / L);  U = c_puct * sqrt(sum of N) / (1 + N(s))
        binary search over the pieces of r: k rollouts at the middle; MC > 0: go right, MC = 0: go left
        every new node with MC > 0 joins the tree, its wrong rollouts the pool; N(s) += 1
    each edge of the tree is a step: the pieces between one positive node and the next, and from the last one to the first zero

A *positive* node has MC > 0; the *error* of a wrong rollout is its first piece after which MC is 0.

Invariants:

- a rollout that was popped never comes back, and U is computed anew for the whole pool at each selection;
- a prefix, identified by the hash of its token ids, is estimated once;
- the search of one rollout probes at most ceil(log2(pieces)) prefixes;
- steps are exact token spans.

Differences from the paper:

- The samples that a question filter would draw are used as the root's rollouts, not thrown away.
- With omega_cuts `steps`, the default, a rollout is cut at the ends of its steps, where scorers read their
  scores. With `tokens`, as in the paper, it is cut at multiples of one span counted from the prompt (mean
  length / omega_pieces tokens, moved to the next whole character).
- The end of a wrong rollout has MC 0 without rollouts (`method` terminal).
- Right samples are written too, with every label True: they are successes that run through each of their
  prefixes.
"""  # noqa: E501

import math
from dataclasses import dataclass, field, replace

from data_gen.labeling.first_error import first_bad
from data_gen.labeling.rollouts import (
    NOT_PROBED,
    WITNESS,
    RolloutSource,
    Tally,
    estimate_root,
    terminal,
    unlabelable_reason,
)
from data_gen.labeling.settings import LabelSettings
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate
from data_gen.records.steps import split_steps, step_spans
from data_gen.records.verdicts import INCORRECT
from data_gen.sampling.solutions import Prefix


async def omega_search(
    source: RolloutSource,
    samples: tuple[GradedSolution, ...],
    vocabulary: list[bytes],
    separator: str,
    settings: LabelSettings,
) -> tuple[LabeledSolution | str, ...]:
    """The searched rollouts and the right samples with labels; for every other sample, and every search
    without a new edge, the reason.

    A searched rollout's steps are the edges on its path, then the rest of its text. Each edge is written
    once: a later solution that runs through it has neither label nor estimate there. A rollout from a node
    other than the root has a negative `index`.
    """
    mean_length = sum(len(sample.solution.token_ids) for sample in samples) / max(1, len(samples))
    span = max(1, math.ceil(mean_length / settings.omega_pieces)) if settings.omega_cuts == "tokens" else 0
    cuts = Cuts(vocabulary, separator, span)
    searches = await Tree(source, cuts, settings).grow(samples)

    writer = EdgeWriter(cuts, estimate_root(samples))
    outcomes: list[LabeledSolution | str] = [
        writer.of_searched(number, searched) for number, searched in enumerate(searches)
    ]
    searched_rollouts = {searched.rollout for searched in searches}
    for sample in samples:
        reason = unlabelable_reason(sample)
        if reason is not None:
            outcomes.append(reason)
        elif sample.verdict.is_correct:
            outcomes.append(writer.of_right(sample))
        elif sample not in searched_rollouts:
            # No sample is right, the solution is a duplicate, or the limit of searches was reached.
            outcomes.append("not_searched")
    return tuple(outcomes)


@dataclass(eq=False)
class Node:
    """A prefix with rollouts. `ids` are its token ids behind the prompt; `path` holds the nodes from below
    the root to this one.
    """

    ids: tuple[int, ...]
    estimate: StepEstimate
    rollouts: tuple[GradedSolution, ...]
    path: tuple["Node", ...] = ()
    n_visits: int = 0

    @property
    def monte_carlo(self) -> float:
        return self.estimate.n_correct / max(1, self.estimate.n_rollouts)


@dataclass(frozen=True)
class SearchedRollout:
    """A wrong rollout from `node` whose first error was located.

    `ids` are the token ids of the whole solution behind the prompt. `path` holds the positive nodes on it, in
    order. The piece with the error ends at `error_end` (a position in `ids`), and `error_estimate` is that of
    the prefix up to there.
    """

    node: Node
    rollout: GradedSolution
    ids: tuple[int, ...]
    path: tuple[Node, ...]
    error_end: int
    error_estimate: StepEstimate
    n_probes: int
    n_pieces: int


@dataclass
class Tree:
    """The state of one problem's search."""

    source: RolloutSource
    cuts: "Cuts"
    settings: LabelSettings
    nodes: dict[bytes, Node] = field(default_factory=dict)
    pool: list[tuple[Node, GradedSolution]] = field(default_factory=list)
    # Hashes of the whole solutions that ever joined the pool: none joins twice.
    pooled: set[bytes] = field(default_factory=set)

    async def grow(self, samples: tuple[GradedSolution, ...]) -> list[SearchedRollout]:
        """Search rollouts until the pool is empty or the limit is reached; they come in the order in which
        they were searched.
        """
        self.add(Node((), estimate_root(samples), samples))
        searches: list[SearchedRollout] = []
        while self.pool and len(searches) < self.settings.omega_searches:
            searches.append(await self.locate(*self.pop()))
        return searches

    def add(self, node: Node) -> None:
        """Put a node with its rollouts into the tree; wrong ones join the pool if some of the node's are
        right.
        """
        self.nodes[prefix_hash(node.ids)] = node
        if not 0 < node.monte_carlo < 1:
            return

        for rollout in node.rollouts:
            is_wrong = (
                rollout.verdict == INCORRECT and rollout.solution.finish_reason is not FinishReason.LENGTH
            )
            whole = prefix_hash(node.ids + rollout.solution.token_ids)
            if is_wrong and whole not in self.pooled:
                self.pooled.add(whole)
                self.pool.append((node, rollout))

    def pop(self) -> tuple[Node, GradedSolution]:
        """Take the rollout with the greatest Q + U out of the pool, for good."""
        n_visits = sum(node.n_visits for node in self.nodes.values())

        def priority(entry: tuple[Node, GradedSolution]) -> float:
            node, rollout = entry
            length = len(rollout.solution.token_ids) / self.settings.omega_length
            quality = self.settings.omega_alpha ** (1 - node.monte_carlo) * self.settings.omega_beta**length
            return quality + self.settings.omega_c_puct * math.sqrt(n_visits) / (1 + node.n_visits)

        best = max(range(len(self.pool)), key=lambda i: priority(self.pool[i]))
        node, rollout = self.pool.pop(best)
        node.n_visits += 1
        return node, rollout

    async def locate(self, node: Node, rollout: GradedSolution) -> SearchedRollout:
        """Binary search for the first piece of `rollout` after which no rollout succeeds."""
        ids = node.ids + rollout.solution.token_ids
        ends = [end for end in self.cuts.ends(ids) if end > len(node.ids)]
        path, n_probes = node.path, 0
        # Unless an earlier piece turns out to be bad, the error is in the last one: the answer is wrong,
        # which needs no rollouts.
        error_estimate = terminal(False)

        async def is_good(piece: int) -> bool:
            nonlocal path, error_estimate, n_probes
            probe = await self.probe(ids[: ends[piece]], path)
            n_probes += 1
            if probe.estimate.n_correct:
                path = (*path, probe)
                return True
            error_estimate = probe.estimate
            return False

        bad = await first_bad(len(ends), is_good)
        return SearchedRollout(node, rollout, ids, path, ends[bad], error_estimate, n_probes, len(ends))

    async def probe(self, ids: tuple[int, ...], above: tuple[Node, ...]) -> Node:
        """The node of a prefix. If it is new, its rollouts are drawn and it joins the tree below the nodes
        `above`.
        """
        known = self.nodes.get(prefix_hash(ids))
        if known is not None:
            return known

        prefix = Prefix(
            self.source.policy.encode_prompt(self.source.policy.question.question) + ids, self.cuts.text(ids)
        )
        rollouts = await self.source.draw_many(prefix, self.settings.n_rollouts)
        tally = Tally()
        for rollout in rollouts:
            tally.add(rollout)
        node = Node(ids, tally.estimate("fixed"), rollouts)
        node.path = (*above, node)
        self.add(node)
        return node


@dataclass(frozen=True)
class Cuts:
    """Where a solution may be cut: after every `span` tokens (or the next whole character), or with span 0 at
    the ends of its steps.
    """

    vocabulary: list[bytes]
    separator: str
    span: int

    def ends(self, ids: tuple[int, ...]) -> list[int]:
        """Ends of the pieces as positions in `ids`; EOS belongs to the last piece."""
        if not self.span:
            return [*(end for _, end in step_spans(ids, self.vocabulary, self.separator)[:-1]), len(ids)]
        n_text = max((i + 1 for i, token in enumerate(ids) if self.vocabulary[token]), default=0)
        ends = (self._whole_character(ids, end) for end in range(self.span, n_text, self.span))
        return [*dict.fromkeys(end for end in ends if end < n_text), len(ids)]

    def pieces(self, ids: tuple[int, ...], ends: list[int]) -> tuple[str, ...]:
        """The texts of the pieces. Steps come without separators; token spans joined give the whole text."""
        if not self.span:
            return split_steps(self.text(ids), self.separator)
        return tuple(self.text(ids[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))

    def text(self, ids: tuple[int, ...]) -> str:
        return b"".join(self.vocabulary[token] for token in ids).decode(errors="replace")

    def _whole_character(self, ids: tuple[int, ...], end: int) -> int:
        """The first end from this one on that does not cut a character of several bytes in two."""
        # In UTF-8 the bytes 0x80 to 0xBF continue a character.
        while (
            end < len(ids) and self.vocabulary[ids[end]][:1] and 0x80 <= self.vocabulary[ids[end]][0] < 0xC0
        ):
            end += 1
        return end


@dataclass
class EdgeWriter:
    """Turns the tree's edges into labeled solutions, each edge once. An edge is a step: it leads from one
    prefix to a longer one.
    """

    cuts: Cuts
    root: StepEstimate
    # The edges that were written: (hash of the prefix where it starts, hash of the prefix where it ends).
    edges: set[tuple[bytes, bytes]] = field(default_factory=set)

    def of_searched(self, number: int, searched: SearchedRollout) -> LabeledSolution | str:
        """The labels of the `number`-th searched rollout, or the reason why it has none."""
        ids, probed = searched.ids, {len(node.ids): node.estimate for node in searched.path}

        # Cut at steps, each step is an edge. Cut at token spans, an edge reaches from one probed prefix to
        # the next.
        ends = self.cuts.ends(ids) if not self.cuts.span else [*probed, searched.error_end]
        if ends[-1] < len(ids):
            ends.append(len(ids))
        steps = self.cuts.pieces(ids, ends)
        # They differ if a single token holds the end of a separator and the whole next step.
        if len(steps) != len(ends):
            return "steps_unaligned"

        estimates: list[StepEstimate] = []
        labels: list[bool | None] = []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            edge = prefix_hash(ids[:start]), prefix_hash(ids[:end])
            if end > searched.error_end or edge in self.edges:
                estimates.append(NOT_PROBED)
                labels.append(None)
            else:
                self.edges.add(edge)
                # A step before the error that was not probed lies before a positive node, whose success runs
                # through it.
                estimates.append(
                    searched.error_estimate if end == searched.error_end else probed.get(end, WITNESS)
                )
                labels.append(end < searched.error_end)
        if all(label is None for label in labels):
            return "edges_known"
        return LabeledSolution(
            _whole(number, searched), steps, tuple(estimates), tuple(labels), root=self.root
        )

    def of_right(self, sample: GradedSolution) -> LabeledSolution | str:
        """The labels of a right sample, all True: it is a success that runs through each of its prefixes."""
        ids = sample.solution.token_ids
        ends = self.cuts.ends(ids)
        steps = self.cuts.pieces(ids, ends)
        if len(steps) != len(ends):
            return "steps_unaligned"
        return LabeledSolution(sample, steps, (WITNESS,) * len(steps), (True,) * len(steps), root=self.root)


def _whole(number: int, searched: SearchedRollout) -> GradedSolution:
    """The searched rollout as a whole solution: a sample as it is, a rollout from a later node with the ids
    before it.
    """
    if not searched.node.ids:
        return searched.rollout
    solution = replace(searched.rollout.solution, index=-1 - number, token_ids=searched.ids, logprobs=())
    return replace(searched.rollout, solution=solution)
