"""The first prompt of a run, as the model sees it: a base model in a chat, or a wrong template, shows there
and not in the results.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from data_gen.models.names import HUB_NAME
from data_gen.policies.config import BUILT_IN, PolicyConfig
from data_gen.problems.tasks import model_path

logger = logging.getLogger(__name__)
N_SHOWN = 300  # characters at the beginning and at the end of a prompt
PLAIN = "its tokenizer has no chat template: a question is asked as plain text, prompt_template and a newline"


def say_prompt(
    config: PolicyConfig, encode_prompt: Callable[[str], tuple[int, ...]] | None, question: str
) -> None:
    """Log the prompt of a question by the policy's own `encode_prompt`; None for a policy that is not loaded,
    whose tokenizer tells.

    Raises InputError where there is no tokenizer, or its template cannot take the question.
    """
    name = config.tokenizer or config.name
    if name == "simulated":
        logger.info("first prompt: %r", shortened(question))
        return
    from data_gen.models.tokenizer import load_tokenizer
    from data_gen.policies.vocabulary import load_vocabulary

    path = model_path(name)
    tokenizer = load_tokenizer(path, config.trust_remote_code)
    if encode_prompt is None:
        encode_prompt = load_vocabulary(path, config.prompt, config.trust_remote_code).encode_prompt
    ids = encode_prompt(question)
    if tokenizer.chat_template is None:
        logger.warning("%s: %s", name, PLAIN)
    logger.info("first prompt, %d tokens: %r", len(ids), shortened(tokenizer.decode(ids)))


def try_prompt(config: PolicyConfig, question: str) -> None:
    """`say_prompt` for a policy that is not loaded. Nothing is fetched for it from the Hub, which is said."""
    name = config.tokenizer or config.model
    if name is None:
        logger.warning("policy.model: none is named: no tokenizer and no prompt were tried")
        return
    if HUB_NAME.fullmatch(name) and not is_here(name):
        logger.warning(
            "%s: neither a folder nor in the cache of the Hub: its tokenizer and prompt were not tried", name
        )
        return
    config.check()
    say_prompt(config, None, question)


def is_here(name: str) -> bool:
    """Whether a model needs no network: a built-in one, a folder, or one of the Hub with its config in the
    cache.
    """
    from huggingface_hub import try_to_load_from_cache

    return (
        name in BUILT_IN
        or Path(name).is_dir()
        or isinstance(try_to_load_from_cache(name, "config.json"), str)
    )


def shortened(text: str) -> str:
    """The beginning and the end: a few-shot prompt is long."""
    return text if len(text) <= 2 * N_SHOWN else f"{text[:N_SHOWN]} … {text[-N_SHOWN:]}"
