"""A wave: the rows that one turn of the incremental scorer computes, and how they are cut into batches.

An example. Steps C, D and E of this tree are requested, and nothing is cached (Q is the head, that is, the
question)::

    Q ── A ──┬── B ──┬── C      wave 1   row 1:  Q A B C        computes four nodes and caches them; D and E
                                wait
             │       └── D
             └── E              wave 2   row 1:  [Q A B] D      [in brackets: read from the cache] row 2:  [Q
                                A] E

A requested step gets a row from its deepest cached ancestor down to it. Where that ancestor is not cached yet
but computed in this wave, by a row that ends with it, the step is appended to that row. Where the row goes on
from there to other steps, as row 1 of wave 1 does, the step waits: in the next wave it reads the keys and
values from the cache. So every distinct step is computed once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from prm_train.scoring.step_cache import StepCache, StepNode
from prm_train.scoring.step_model import StepModel


@dataclass(slots=True)
class Row:
    """One row of a batch: it computes `nodes`, each the parent of the next, behind the cached path to `past`
    (None: from the head on).

    The first `n_kept` of the nodes will be cached; `n_new` counts the tokens of all of them.
    """

    past: StepNode | None
    nodes: list[StepNode] = field(default_factory=list)
    n_kept: int = 0
    n_new: int = 0

    @property
    def n_past(self) -> int:
        return 0 if self.past is None else self.past.n_path_tokens

    @property
    def n_tokens(self) -> int:
        return self.n_past + self.n_new


class Wave:
    """Rows for requested steps. `n_tokens` counts the tokens of all rows, cached ones included."""

    def __init__(self, model: StepModel, cache: StepCache) -> None:
        self.rows: list[Row] = []
        self.n_tokens = 0
        self._model = model
        self._cache = cache
        self._row_of: dict[StepNode, Row] = {}  # the row of each node that will be cached
        self._n_kept_tokens = 0

    def add(self, node: StepNode) -> None:
        """Give a requested step a row, or nothing if it must wait for the next wave."""
        is_whole = self._model.is_whole(node.n_path_tokens)
        ancestor, missing = (None, node.path()) if is_whole else self._missing(node)
        row = self._row_behind(ancestor)
        if row is not None:
            self._append(row, missing, may_be_cached=not is_whole)

    def batches(self, max_batch_tokens: int) -> Iterator[list[Row]]:
        """Rows of like length together. A batch of several rows has at most `max_batch_tokens` tokens,
        padding included.

        Long and short paths of a LongRoPE model share no batch (`StepModel.is_long`).
        """
        batch: list[Row] = []
        max_past = 0
        # The longest rows come first, so that the first row of a batch has its most new tokens.
        for row in sorted(
            self.rows, key=lambda row: (self._is_long(row), row.n_new, row.n_past), reverse=True
        ):
            max_past = max(max_past, row.n_past)
            is_full = (len(batch) + 1) * (max_past + batch[0].n_new) > max_batch_tokens if batch else False
            if is_full or (batch and self._is_long(row) != self._is_long(batch[0])):
                yield batch
                batch, max_past = [], row.n_past
            batch.append(row)
        if batch:
            yield batch

    def _is_long(self, row: Row) -> bool:
        return self._model.is_long(row.n_tokens)

    def _missing(self, node: StepNode) -> tuple[StepNode | None, list[StepNode]]:
        """The deepest ancestor (or the node itself) that is cached or about to be, and the nodes below it
        down to `node`.
        """
        missing: list[StepNode] = []
        ancestor: StepNode | None = node
        while ancestor is not None and ancestor not in self._cache and ancestor not in self._row_of:
            missing.append(ancestor)
            ancestor = ancestor.parent
        return ancestor, missing[::-1]

    def _row_behind(self, ancestor: StepNode | None) -> Row | None:
        """The row that goes on behind `ancestor`: a new one, or the row of this wave that ends with it. None:
        the step must wait.
        """
        row = None if ancestor is None else self._row_of.get(ancestor)
        if row is not None:
            return row if row.nodes[-1] is ancestor else None

        row = Row(past=ancestor)
        self.rows.append(row)
        self.n_tokens += row.n_past
        self._cache.touch(ancestor)
        return row

    def _append(self, row: Row, nodes: list[StepNode], *, may_be_cached: bool) -> None:
        """Let the row compute these nodes too, and plan to cache as many of them as there is room for."""
        for node in nodes:
            # What a row caches is an unbroken path from its past on: behind a node that did not fit nothing
            # else is cached.
            is_unbroken = row.n_kept == len(row.nodes)
            if (
                may_be_cached
                and is_unbroken
                and self._cache.make_room(self._n_kept_tokens + len(node.token_ids))
            ):
                row.n_kept += 1
                self._row_of[node] = row
                self._n_kept_tokens += len(node.token_ids)
            row.nodes.append(node)
            row.n_new += len(node.token_ids)
            self.n_tokens += len(node.token_ids)
