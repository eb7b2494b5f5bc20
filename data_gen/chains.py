"""The old name of `data_gen.records.chats`, which cards of published models import."""

import warnings

from data_gen.records.chats import QUESTION, ChainPrompts, Message, chain_prompt, first_question

__all__ = ["QUESTION", "ChainPrompts", "Message", "chain_prompt", "first_question"]
warnings.warn("data_gen.chains is now data_gen.records.chats", FutureWarning, stacklevel=2)
