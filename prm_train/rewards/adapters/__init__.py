"""`prm_train.rewards` in the interfaces of RL frameworks, one file each; none owns a training loop."""
