"""Scoring sessions over HTTP: a tree of steps that stays open between requests, so that each distinct token
is computed once, whoever asks for it when.

    open (question) ─▶ id      extend (parent, step) ─▶ node      score (nodes)      close, or an idle while

The number of sessions, of each key and of all, their steps and bytes are bounded; keys and values are in the
scorer's own cache, whose size `scorer.cache_bytes` sets.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import Scorer, ScoringTree
from prm_train.serving.admission import TOO_MANY_REQUESTS
from prm_train.serving.chats import Asked
from prm_train.serving.operations.accounts import CURRENT, Account
from prm_train.serving.step_scores import StepScore, open_tree, score_nodes

logger = logging.getLogger(__name__)
NOT_FOUND, CONFLICT = 404, 409


@dataclass(frozen=True)
class SessionLimits:
    max_sessions: int
    max_of_key: int  # of these
    max_nodes: int
    max_bytes: int
    idle_seconds: float


class ScoringSession:
    """A tree whose nodes clients know by numbers; 0 is the question. The same step behind the same node has
    the same number.
    """

    def __init__(
        self,
        name: str,
        tree: ScoringTree,
        stack: AsyncExitStack,
        limits: SessionLimits,
        label: str | None = None,
    ) -> None:
        self.name, self.tree, self.label, self.owner = name, tree, label, CURRENT.get()
        self._stack, self._limits = stack, limits
        self._nodes: list[Any] = [tree.root]
        self._numbers: dict[Any, int] = {tree.root: 0}
        self._n_bytes = 0
        self.n_users = self._n_charged = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def n_nodes(self) -> int:
        return len(self._nodes) - 1

    def node(self, number: int) -> Any:
        if number >= len(self._nodes):
            raise BadRequestError(f"nodes: got {number}, expected 0 to {self.n_nodes}")
        return self._nodes[number]

    def extend(self, parent: int, step: str) -> int:
        """Raises BadRequestError for an unknown parent, a blank step, and what goes beyond a bound."""
        above, n_new = self.node(parent), len(step.encode())
        if n_new > self._limits.max_bytes:
            raise BadRequestError(f"steps: one of {n_new} bytes, expected at most {self._limits.max_bytes}")
        try:
            node = self.tree.extend(above, step)
        except ValueError as error:
            raise BadRequestError(f"steps: {error}") from error
        if node in self._numbers:
            return self._numbers[node]
        n_bytes = self._n_bytes + n_new
        if self.n_nodes >= self._limits.max_nodes or n_bytes > self._limits.max_bytes:
            raise BadRequestError(
                f"session: holds {self.n_nodes} steps of {self._n_bytes} bytes, expected at most "
                f"{self._limits.max_nodes} of {self._limits.max_bytes}"
            )
        self._n_bytes = n_bytes
        self._nodes.append(node)
        self._numbers[node] = self.n_nodes
        return self.n_nodes

    async def score(self, numbers: list[int]) -> list[StepScore]:
        nodes = [self.node(number) for number in numbers]
        if 0 in numbers:
            raise BadRequestError("nodes: got 0, the question, which has no score; expected steps")
        return await score_nodes(self.tree, nodes)

    def take_uncharged(self) -> int:
        """Tokens that the scorer has computed for it and that were not taken yet; requests may run side by
        side.
        """
        n_before, self._n_charged = self._n_charged, self.tree.usage.n_new
        return self._n_charged - n_before

    async def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        await self._stack.aclose()


class SessionStore:
    """The open sessions by their names, which nobody guesses; each is open to the key that opened it alone.
    One that is not used for a while is closed.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._sessions: dict[str, ScoringSession] = {}
        self._opening: list[Account | None] = []  # whose sessions are being opened
        self._closing = set[asyncio.Task[None]]()

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, asked: Asked, scorer: Scorer, label: str | None = None) -> ScoringSession:
        """`label` is the name of the scorer for clients. Raises BadRequestError where too many are open, of
        this key or of all, or the scorer cannot read what was asked.
        """
        self._check_room(owner := CURRENT.get())
        self._opening.append(owner)
        stack = AsyncExitStack()
        try:
            tree = await stack.enter_async_context(open_tree(scorer, asked))
        except InputError as error:
            raise BadRequestError(str(error)) from error
        finally:
            self._opening.remove(owner)
        session = ScoringSession(f"session-{secrets.token_hex(12)}", tree, stack, self._limits, label)
        self._sessions[session.name] = session
        self._wind(session)
        return session

    def _check_room(self, owner: Account | None) -> None:
        """Raises BadRequestError (429)."""
        owners, limits = [*(each.owner for each in self._sessions.values()), *self._opening], self._limits
        n_own = sum(each is owner for each in owners)
        said = None
        if n_own >= limits.max_of_key:
            said = f"{n_own} of this key are open, expected one of them to be closed first (DELETE)"
        elif len(owners) >= limits.max_sessions:
            said = f"{len(owners)} of all keys are open, expected one to be closed, or left unused, first"
        if said is not None:
            seconds = max(1, min(60, round(limits.idle_seconds)))
            raise BadRequestError(f"sessions: {said}", TOO_MANY_REQUESTS, seconds)

    @contextmanager
    def using(self, name: str) -> Iterator[ScoringSession]:
        """Raises BadRequestError (404) for one that is not open. A session in use does not expire."""
        session = self._known(name)
        session.n_users += 1
        try:
            yield session
        finally:
            session.n_users -= 1
            if name in self._sessions:
                self._wind(session)

    async def close(self, name: str) -> None:
        session = self._known(name)
        del self._sessions[name]
        await session.close()

    def _known(self, name: str) -> ScoringSession:
        session = self._sessions.get(name)
        if session is None or session.owner is not CURRENT.get():
            raise BadRequestError(
                f"session {name!r}: not open (or closed after {self._limits.idle_seconds:g} s without use)",
                NOT_FOUND,
            )
        return session

    def _wind(self, session: ScoringSession) -> None:
        """Set its clock back."""
        if session.timer is not None:
            session.timer.cancel()
        loop = asyncio.get_running_loop()
        session.timer = loop.call_later(self._limits.idle_seconds, self._expire, session)

    def _expire(self, session: ScoringSession) -> None:
        if session.n_users:
            return  # whose end winds it
        del self._sessions[session.name]
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        logger.info("a scoring session of %d steps was closed: not used any more", session.n_nodes)
