"""What kinds have in common that are plain causal language models."""

from transformers import AutoModelForCausalLM

from data_gen.models.eos_ids import eos_ids
from prm_train.kinds.model_kind import Checkpoint, ModelKind
from prm_train.kinds.serving import LanguageModel
from prm_train.networks.special_ids import PADDINGS, check_padding


class LanguageModelKind(ModelKind):
    """Its numbers come from the probabilities of tokens."""

    auto_class = AutoModelForCausalLM
    serving = LanguageModel()

    def settle_padding(self, checkpoint: Checkpoint) -> None:
        """Where it has no padding token of its own, it gets one of those that its tokenizer keeps."""
        tokenizer, config = checkpoint.encoding.tokenizer, checkpoint.model.config
        eos = {tokenizer.eos_token_id, *eos_ids(config)}
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id in eos:
            vocabulary = tokenizer.get_vocab()
            tokenizer.pad_token = next(
                (token for token in PADDINGS if vocabulary.get(token, tokenizer.eos_token_id) not in eos),
                None,
            )
        for model in (checkpoint.model, *checkpoint.others.values()):
            model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
            check_padding(model.config, config.name_or_path)
