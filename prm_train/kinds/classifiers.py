"""What kinds have in common that are a backbone under a head for scores."""

from prm_train.kinds.model_kind import Checkpoint, Classifier, ModelKind
from prm_train.networks.special_ids import check_padding


class ClassifierKind(ModelKind):
    """The network in the checkpoint is the one that scores."""

    def load_classifier(
        self, path: str, dtype: str = "float32", trust_remote_code: bool = False
    ) -> Classifier:
        checkpoint = self.load(path, dtype, trust_remote_code)
        return Classifier(checkpoint.model, checkpoint.encoding, checkpoint.facts)

    def settle_padding(self, checkpoint: Checkpoint) -> None:
        """It was trained with its own padding, and is refused without it."""
        check_padding(checkpoint.model.config, checkpoint.model.config.name_or_path)
