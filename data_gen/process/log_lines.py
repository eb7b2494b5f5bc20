"""Log lines that do not share a line with a progress bar."""

import logging
from typing import TextIO

from tqdm import tqdm


class LogAboveBars(logging.StreamHandler[TextIO]):
    """Writes log lines to stderr; a bar that stands there is taken away first and drawn again below."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)
