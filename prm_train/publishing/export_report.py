"""What `prm-train verify-export` finds, as its report holds it, and what vLLM's process answers it
(`publishing.vllm_scoring`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_gen.files.stored_record import StoredRecord
from prm_train.publishing.served_parity import Comparison


@dataclass(frozen=True)
class VllmAnswer(StoredRecord):
    """vLLM's version, and by pooling what it returned, one entry a path: its form is vLLM's."""

    WRITTEN_BY = "prm_train.publishing.vllm_scoring"

    vllm: str
    found: Mapping[str, list[Any]]


@dataclass(frozen=True)
class ExportReport(StoredRecord):
    """`is_same`: no fault in the checkpoint, and every comparison within the tolerance. `versions` by
    package.
    """

    WRITTEN_BY = "`prm-train verify-export`"

    architecture: str
    dtype: str
    tolerance: float
    is_same: bool
    faults: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    versions: Mapping[str, str]
