"""The label of a position that has none."""

UNLABELLED = -100.0  # what transformers.Trainer does not count as a label
