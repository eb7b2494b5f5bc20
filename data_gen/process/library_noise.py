"""Warnings and bars of libraries that say nothing of what a command does: they are taken away, as far as they
are known by name.

DeepSpeed and bitsandbytes are imported by transformers wherever they are installed, and then tell of
accelerators and kernels that nobody has asked for.
"""

import logging
import sys

WARNINGS = {
    "DeepSpeed": "Setting accelerator to CPU",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}


def drop_known_warnings() -> None:
    """For this process; may be called again."""
    for name, beginning in WARNINGS.items():
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Beginning) for each in logger.filters):
            logger.addFilter(_Beginning(beginning))


def show_no_loading_bars() -> None:
    """Transformers' bars over the weights of a model; in a terminal, those of downloads stay, which may take
    long.
    """
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if sys.stderr.isatty():
        enable_progress_bars()


class _Beginning(logging.Filter):
    """Drops the records whose message begins with a text."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.beginning)
