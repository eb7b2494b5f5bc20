"""The reward side of reinforcement learning: outcomes, scores of whole solutions, credit for steps. Trainings
are TRL's and others'; `prm_train.rewards.adapters` fits these to them (docs/rl.md).
"""

from prm_train.rewards.credit import StepCredit as StepCredit
from prm_train.rewards.orm import OrmReward as OrmReward
from prm_train.rewards.outcome import OutcomeReward as OutcomeReward
