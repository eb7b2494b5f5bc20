"""The setting that names the format of somebody else's PRM; `prm_train.scoring.foreign.formats` describes
them. Loads without torch.
"""

from dataclasses import dataclass, field
from typing import Literal

ForeignFormat = Literal["trl", "qwen", "math_shepherd", "rlhflow", "skywork"]


@dataclass(frozen=True)
class PrmFormat:
    """How the scores of a PRM are read."""

    name: ForeignFormat | Literal["auto"] = field(
        default="auto", metadata={"help": "how the checkpoint reads steps; auto: as its config.json says"}
    )
    separator: str = field(
        default="\n",
        metadata={"help": "for the formats trl and skywork: the text that ended a step in the training"},
    )


AUTO = PrmFormat()
