"""What every part of `benchmarks.gpu` is told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """`folder` is the part's own and outlasts a killed call. `seconds` is what the part may take."""

    device: str  # cuda, or cpu for a try at toy size
    is_small: bool
    model: Path  # folder of a real language model (SmolLM2-135M-Instruct), at toy size of a tiny random one
    folder: Path
    problems: Path | None  # folder with gsm8k/train.jsonl and gsm8k/test.jsonl
    peer: Path | None  # folder that trl 1.13 was unpacked to
    seconds: float

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")
