"""The network of Qwen2.5-Math-PRM: a backbone under a head of two layers, which `publish --layout qwen_prm`
writes too.
"""

from torch import nn
from transformers import Qwen2Config, Qwen2ForTokenClassification

from prm_train.networks.load_whole import load_whole

QWEN_PRM = "Qwen2ForProcessRewardModel"  # its architecture in config.json


class QwenPrm(Qwen2ForTokenClassification):
    """Qwen2ForProcessRewardModel from transformers' own parts: two linear maps with a ReLU between them on
    every token.
    """

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.score = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.ReLU(), nn.Linear(config.hidden_size, 2)
        )
        self.post_init()


def load_qwen_network(path: str, dtype: str) -> QwenPrm:
    return load_whole(QwenPrm, path, dtype, num_labels=2)
