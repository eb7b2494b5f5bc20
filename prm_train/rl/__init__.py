"""Trainings of a policy by TRL's GRPO on rewards of `prm_train.rewards`."""
