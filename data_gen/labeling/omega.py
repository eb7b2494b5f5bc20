"""OmegaPRM (Luo et al. 2024, arXiv 2406.06592): a tree of prefixes whose wrong rollouts are searched for their first error.

The pseudo-code, with MC(s) = right / all rollouts from node s::

    root: the problem's own samples are its rollouts; pool = {(s, r): r a wrong rollout of s, 0 < MC(s) < 1}
    while pool, at most omega_searches times:
        (s, r) = pop argmax Q(s, r) + U(s);  Q = alpha^(1 - MC(s)) * beta^(len(r) / L);  U = c_puct * sqrt(sum of N) / (1 + N(s))
        binary search over the pieces of r: k rollouts at the middle; MC > 0: go right, MC = 0: go left
        every new node with MC > 0 joins the tree, its wrong rollouts the pool; N(s) += 1
    each edge of the tree is a step: the pieces between one positive node and the next, and from the last one to the first zero

Invariants: a popped rollout never returns; U is worked out anew for the whole pool at each selection; a prefix, known by the hash of its
token ids, is estimated once; a search probes at most ceil(log2(pieces)) prefixes; steps are exact token spans. Differences from the paper:
the samples that a question filter would draw are the root's rollouts and not thrown away; with omega_cuts `tokens` a rollout is cut at
multiples of one span, counted from the prompt (mean length / omega_pieces tokens, moved to the next whole character), with `steps`, the
default, at the ends of steps, where scorers read their scores (they would put a separator after each span); the end of a wrong rollout is a
zero without rollouts (`method` terminal); right samples are exported as witnesses of their own prefixes.
"""

import math
from dataclasses import dataclass, field, replace

from data_gen.labeling.rollouts import NOT_PROBED, WITNESS, RolloutSource, Tally, estimate_root, terminal, unlabelable_reason
from data_gen.labeling.settings import LabelSettings
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import INCORRECT, GradedSolution, LabeledSolution, StepEstimate
from data_gen.records.steps import split_steps, step_spans
from data_gen.sampling.solutions import Prefix


async def omega_search(
    source: RolloutSource, samples: tuple[GradedSolution, ...], vocabulary: list[bytes], separator: str, settings: LabelSettings
) -> tuple[LabeledSolution | str, ...]:
    """The searched rollouts and the right samples with labels; for every other sample, and every search without a new edge, the reason.

    A searched rollout's steps are the edges on its path, then the rest of its text. Each edge is exported once: where a later solution
    runs through it, it has neither label nor estimate there. A rollout from a later node than the root has a negative `index`.
    """
    mean_length = sum(len(sample.solution.token_ids) for sample in samples) / max(1, len(samples))
    span = max(1, math.ceil(mean_length / settings.omega_pieces)) if settings.omega_cuts == "tokens" else 0
    cuts = Cuts(vocabulary, separator, span)
    searches = await Tree(source, cuts, settings).grow(samples)
    searched = {search.rollout for search in searches}
    export = Export(cuts, estimate_root(samples))
    outcomes: list[LabeledSolution | str] = [export.search(number, search) for number, search in enumerate(searches)]
    for sample in samples:
        reason = unlabelable_reason(sample)
        if reason is not None:
            outcomes.append(reason)
        elif sample.verdict.is_correct:
            outcomes.append(export.right(sample))
        elif sample not in searched:
            outcomes.append("not_searched")  # no sample is right, the solution is a duplicate, or the search limit was reached
    return tuple(outcomes)


@dataclass(eq=False)
class Node:
    """A prefix with rollouts. `ids` are the solution's so far, without the prompt; `chain` the nodes from the root's child down to this."""

    ids: tuple[int, ...]
    estimate: StepEstimate
    rollouts: tuple[GradedSolution, ...]
    chain: tuple["Node", ...] = ()
    n_visits: int = 0

    @property
    def monte_carlo(self) -> float:
        return self.estimate.n_correct / max(1, self.estimate.n_rollouts)


@dataclass(frozen=True)
class Search:
    """A wrong rollout whose first error was located: the positive nodes on it, in order, and where the first zero ends (None: terminal)."""

    node: Node
    rollout: GradedSolution
    ids: tuple[int, ...]  # of the whole solution, from the end of the prompt
    chain: tuple[Node, ...]
    zero_end: int
    zero: StepEstimate
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
    pooled: set[bytes] = field(default_factory=set)  # whole solutions that ever joined the pool: none joins twice

    async def grow(self, samples: tuple[GradedSolution, ...]) -> list[Search]:
        """All searches, in the order in which they were made."""
        self.add(Node((), estimate_root(samples), samples))
        searches: list[Search] = []
        while self.pool and len(searches) < self.settings.omega_searches:
            searches.append(await self.search(*self.pop()))
        return searches

    def add(self, node: Node) -> None:
        """Put a node with its rollouts into the tree; wrong ones join the pool if some of the node's are right."""
        self.nodes[prefix_hash(node.ids)] = node
        if not 0 < node.monte_carlo < 1:
            return
        for rollout in node.rollouts:
            is_wrong = rollout.verdict == INCORRECT and rollout.solution.finish_reason is not FinishReason.LENGTH
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

    async def search(self, node: Node, rollout: GradedSolution) -> Search:
        """Binary search for the first piece of `rollout` after which no rollout succeeds."""
        ids = node.ids + rollout.solution.token_ids
        ends = [end for end in self.cuts.ends(ids) if end > len(node.ids)]
        chain, zero, n_probes = node.chain, terminal(False), 0
        first_open, first_bad = 0, len(ends) - 1  # the end of the rollout needs no rollouts: its answer is wrong
        while first_open < first_bad:
            middle = (first_open + first_bad) // 2
            probe = await self.probe(ids[: ends[middle]], chain)
            n_probes += 1
            if probe.estimate.n_correct:
                chain, first_open = (*chain, probe), middle + 1
            else:
                zero, first_bad = probe.estimate, middle
        return Search(node, rollout, ids, chain, ends[first_bad], zero, n_probes, len(ends))

    async def probe(self, ids: tuple[int, ...], above: tuple[Node, ...]) -> Node:
        """The node of a prefix, with rollouts drawn where it is new."""
        known = self.nodes.get(prefix_hash(ids))
        if known is not None:
            return known
        prefix = Prefix(self.source.policy.encode_prompt(self.source.policy.problem.question) + ids, self.cuts.text(ids))
        rollouts = await self.source.draw_many(prefix, self.settings.n_rollouts)
        tally = Tally()
        for rollout in rollouts:
            tally.add(rollout)
        node = Node(ids, tally.estimate("fixed"), rollouts)
        node.chain = (*above, node)
        self.add(node)
        return node


@dataclass(frozen=True)
class Cuts:
    """Where a solution may be cut: after every `span` tokens (moved on to a whole character), or at the ends of its steps (span 0)."""

    vocabulary: list[bytes]
    separator: str
    span: int

    def ends(self, ids: tuple[int, ...]) -> list[int]:
        """Ends of the pieces; EOS belongs to the last piece, which ends with the ids."""
        if not self.span:
            return [*(end for _, end in step_spans(ids, self.vocabulary, self.separator)[:-1]), len(ids)]
        n_text = max((i + 1 for i, token in enumerate(ids) if self.vocabulary[token]), default=0)
        ends = (self._whole_character(ids, end) for end in range(self.span, n_text, self.span))
        return [*dict.fromkeys(end for end in ends if end < n_text), len(ids)]

    def pieces(self, ids: tuple[int, ...], ends: list[int]) -> tuple[str, ...]:
        """The texts between the ends: step texts without separators, or, of token spans, texts that join to the whole."""
        if not self.span:
            return split_steps(self.text(ids), self.separator)
        return tuple(self.text(ids[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))

    def text(self, ids: tuple[int, ...]) -> str:
        return b"".join(self.vocabulary[token] for token in ids).decode(errors="replace")

    def _whole_character(self, ids: tuple[int, ...], end: int) -> int:
        while end < len(ids) and self.vocabulary[ids[end]][:1] and 0x80 <= self.vocabulary[ids[end]][0] < 0xC0:
            end += 1  # the next token goes on with a character of several bytes
        return end


@dataclass
class Export:
    """The tree's edges as labelled solutions."""

    cuts: Cuts
    root: StepEstimate
    edges: set[tuple[bytes, bytes]] = field(default_factory=set)  # (hash of the prefix it starts from, of the one it ends with)

    def search(self, number: int, search: Search) -> LabeledSolution | str:
        ids, probed = search.ids, {len(node.ids): node.estimate for node in search.chain}
        ends = self.cuts.ends(ids) if not self.cuts.span else [*probed, search.zero_end]
        if ends[-1] < len(ids):
            ends.append(len(ids))
        steps = self.cuts.pieces(ids, ends)
        if len(steps) != len(ends):
            return "steps_unaligned"  # a token carries the end of one separator and a whole step more
        estimates: list[StepEstimate] = []
        labels: list[bool | None] = []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            edge = prefix_hash(ids[:start]), prefix_hash(ids[:end])
            if end > search.zero_end or edge in self.edges:
                estimates.append(NOT_PROBED)
                labels.append(None)
            else:
                self.edges.add(edge)
                estimates.append(search.zero if end == search.zero_end else probed.get(end, WITNESS))
                labels.append(end < search.zero_end)
        if all(label is None for label in labels):
            return "edges_known"
        return LabeledSolution(_whole(number, search), steps, tuple(estimates), tuple(labels), root=self.root)

    def right(self, sample: GradedSolution) -> LabeledSolution | str:
        """A right sample is a success that runs through each of its prefixes."""
        ids = sample.solution.token_ids
        ends = self.cuts.ends(ids)
        steps = self.cuts.pieces(ids, ends)
        if len(steps) != len(ends):
            return "steps_unaligned"
        return LabeledSolution(sample, steps, (WITNESS,) * len(steps), (True,) * len(steps), root=self.root)


def _whole(number: int, search: Search) -> GradedSolution:
    """The searched rollout as a whole solution: a sample as it is, a rollout from a later node with the ids before it."""
    if not search.node.ids:
        return search.rollout
    return replace(search.rollout, solution=replace(search.rollout.solution, index=-1 - number, token_ids=search.ids, logprobs=()))
