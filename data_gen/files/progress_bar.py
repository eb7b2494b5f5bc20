"""What a run makes and how fast: a policy that counts its draws, the rates made of the counts, and the line
that shows them.

On a terminal the line is a bar that is drawn again and again, elsewhere an entry in the log every ten
seconds::

    label: 1200 of 7000 problems, 8,412 tokens/s, 143 draws/s, 96.1 labels/s, 87.5 tokens a label, 24:10 left
"""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from tqdm import tqdm

from data_gen.files.progress_file import WRITE_SECONDS, ProgressRecord, progress_path

logger = logging.getLogger(__name__)
BAR_SECONDS = 0.2
LOG_SECONDS = 10.0
FEW = 20  # items done, from which on there is a guess of the time left
# Its end is cut where the terminal is narrow
BAR = "{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"
BAR_WITHOUT_END = "{desc}: {n_fmt} {unit} [{elapsed}{postfix}]"
N_MARKS = 6  # the time left is that of the rate over the last minute of a log


class Progress:
    """`with Progress("label", n_items) as progress:` and `progress.update()` when another item is done;
    `words` say what came of them.

    `n_items` None: nobody knows how many there are. `n_done` of them were done before. `counts` are for the
    file of `data_gen.files.progress_file`.
    """

    def __init__(
        self,
        what: str,
        n_items: int | None,
        words: Callable[[], str] = str,
        unit: str = "problems",
        n_done: int = 0,
        is_shown: bool = True,
        counts: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._what, self._n_items, self._words, self._unit = what, n_items, words, unit
        self._is_log, self._is_shown = not sys.stderr.isatty(), is_shown
        layout = BAR if n_items is not None else BAR_WITHOUT_END
        is_hidden = self._is_log or not is_shown
        self._bar = tqdm(
            total=n_items,
            desc=what,
            unit=unit,
            initial=n_done,
            bar_format=layout,
            dynamic_ncols=True,
            disable=is_hidden,
        )
        self._interval = LOG_SECONDS if self._is_log else BAR_SECONDS
        self._n_begun = self._n_done = n_done
        self._marks = deque([(time.monotonic(), n_done)], maxlen=N_MARKS)
        self._counts, self._file = counts, progress_path() if is_shown else None
        self._begun_at = time.monotonic()
        self._write(self._begun_at)

    def update(self, n: int = 1) -> None:
        self._n_done += n
        self._bar.update(n)
        now = time.monotonic()
        if self._is_shown and now - self._marks[-1][0] >= self._interval:
            self._show(now)
        if now - self._written_at >= WRITE_SECONDS:
            self._write(now)

    def _write(self, now: float) -> None:
        self._written_at = now
        if self._file is not None:
            seconds, counts = round(now - self._begun_at, 1), dict(self._counts())
            ProgressRecord(self._what, self._n_done, self._n_items, self._n_begun, seconds, counts).write(
                self._file
            )

    def _show(self, now: float) -> None:
        if not self._is_log:
            self._bar.set_postfix_str(self._words(), refresh=False)
        else:
            then, n_then = self._marks[0]
            rate = (self._n_done - n_then) / (now - then)
            of_all = f" of {self._n_items}" if self._n_items is not None else ""
            words = filter(None, (self._words() or f"{rate:.3g} {self._unit}/s", self._time_left(rate)))
            logger.info("%s: %d%s %s, %s", self._what, self._n_done, of_all, self._unit, ", ".join(words))
        self._marks.append((now, self._n_done))

    def _time_left(self, rate: float) -> str:
        """Of few items the first ones say nothing, unless they are a good part of all."""
        if (
            self._n_items is None
            or not rate
            or self._n_done - self._n_begun < min(FEW, math.ceil(self._n_items / 4))
        ):
            return ""
        return f"{tqdm.format_interval((self._n_items - self._n_done) / rate)} left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._bar.close()
        self._write(time.monotonic())
