"""The label of a position that has none."""

UNLABELED = -100.0  # what transformers.Trainer does not count as a label
