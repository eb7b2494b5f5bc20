"""An answer as a stream of server-sent events: what the search does meanwhile, the text token by token where
it is the only one, and in the end the answer.

Where one sample or path is all that is drawn its text is that of the answer, and is sent while the policy
writes it, if that tells (`TellingPolicy`). Else nobody knows the answer's text before the end.
"""

import asyncio
import codecs
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.servers.http_requests import BadRequestError, error_body, internal_error_body
from prm_train.search.solving.solver import Solver
from prm_train.serving.answering import Asking, Found
from prm_train.serving.progress import Event, Progress
from prm_train.serving.replies import Wording, event
from prm_train.strategies.trace import UNWATCHED

logger = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 5.0
DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy holds events back


def has_one_path(asking: Asking) -> bool:
    """Whether the text of the first path is that of the answer. What chooses n by itself (an allocation) may
    draw others, and DeepConf may give a sample up.
    """
    if asking.settings.n != 1 or asking.settings.is_deepconf:
        return False
    with Ledger(IN_MEMORY) as ledger:
        return isinstance(asking.solver(ledger), Solver)


class LiveText:
    """The text of the only path as it is written: `tell` gets what is certain of it, piece by piece, and
    `text` is all of that. What may be the beginning of a stop string is held back.
    """

    def __init__(
        self, token_bytes: Sequence[bytes], stop: Sequence[str], tell: Callable[[str], None]
    ) -> None:
        self.text = ""
        self._token_bytes, self._stop, self._tell = token_bytes, stop, tell
        self._n_read = 0  # ids of the path
        self._begun = 0  # of these, where the present draw began
        self._held = ""
        self._new_decoder()

    def _new_decoder(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, before_ids: Sequence[int], token_ids: Sequence[int]) -> None:
        """The ids of a draw so far, and those of the path before it."""
        n_before = len(before_ids)
        if n_before > self._begun:  # a path's text is put together of the draws' texts
            self._held += self._decode(before_ids[self._n_read :], is_whole=True)
            self._begun = self._n_read = n_before
            self._new_decoder()
        self._held += self._decode(token_ids[self._n_read - n_before :], is_whole=False)
        self._n_read = n_before + len(token_ids)
        certain = self._held[: len(self._held) - self._n_unsure()]
        self._held = self._held[len(certain) :]
        if certain:
            self.text += certain
            self._tell(certain)

    def _decode(self, ids: Sequence[int], *, is_whole: bool) -> str:
        return self._decoder.decode(b"".join([self._token_bytes[each] for each in ids]), is_whole)

    def _n_unsure(self) -> int:
        """Characters at the end that may begin a stop string."""
        held = self._held
        return max(
            (n for stop in self._stop for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0
        )


async def stream(
    asking: Asking,
    find: Callable[[Asking], Coroutine[Any, Any, Found]],
    wording: Wording,
    *,
    include_usage: bool,
    has_progress: bool,
) -> AsyncIterator[bytes]:
    """The events of a reply. Who closes this cancels the search."""
    told: asyncio.Queue[Event | str | None] = asyncio.Queue()
    settings = asking.settings
    watch = Progress(told.put_nowait, settings.step_separator) if has_progress else UNWATCHED
    live = LiveText(asking.models.policy.token_bytes(), settings.stop, told.put_nowait)
    watched = replace(asking, watch=watch, tell=live.read if has_one_path(asking) else None)
    task = asyncio.create_task(find(watched))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        for chunk in wording.first_chunk():
            yield event(chunk)
        async for said in _until_none(told):
            if said is None:
                yield b": searching\n\n"
            else:
                yield event(
                    wording.text_chunk(said) if isinstance(said, str) else wording.progress_chunk(said)
                )
        found = task.result()
        for chunk in wording.chunks(found, live.text, include_usage=include_usage):
            yield event(chunk)
        yield DONE
    except BadRequestError as error:
        yield event(error_body(error))
    except Exception as error:
        # The status is said already: without an event the client would take the end for a lost line
        logger.exception("a search failed in the midst of its stream")
        yield event(internal_error_body(error))
    finally:  # of a client that went away, too
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_none(told: "asyncio.Queue[Event | str | None]") -> AsyncIterator[Event | str | None]:
    """What is put into the queue, up to a None; where nothing comes for a while, a None."""
    while True:
        try:
            said = await asyncio.wait_for(told.get(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            yield None
            continue
        if said is None:
            return
        yield said
