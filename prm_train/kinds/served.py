"""A scorer from a checkpoint's config and tokenizer, whose weights are behind servers: `connect_scorer`."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_gen.models.forward_settings import context_length, short_length
from data_gen.models.pretrained import load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.models.weights_digest import files_digest
from data_gen.policies.servers.addresses import server_urls
from data_gen.policies.servers.probe import ModelCard, get_card
from data_gen.policies.servers.replicas import Replicas, probe_present
from data_gen.policies.servers.replies import WrongReplyError
from data_gen.policies.servers.requests import RequestSettings, ServerPool
from data_gen.policies.servers.server_errors import NotAReplicaError, ServerError
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.process.daemon_threads import run_in_thread
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import UNCALIBRATED, Calibration
from prm_train.checkpoints.facts import score_facts
from prm_train.encoding.aggregation import Aggregation
from prm_train.kinds.lookup import kind_of
from prm_train.kinds.tolerances import SCORE_TOLERANCES
from prm_train.metrics.ranking import sigmoid
from prm_train.scoring.foreign.formats import format_of
from prm_train.scoring.foreign.qwen import QWEN_AGGREGATION, qwen_encoding
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.foreign.trl import TRL_AGGREGATION, TrlEncoding
from prm_train.scoring.incremental import StepEncoding
from prm_train.scoring.pooling import Pooling
from prm_train.scoring.served import ServedScorer, Servers

logger = logging.getLogger(__name__)
PROBE_QUESTION, PROBE_STEP = DEFAULT_TASK.example_question, "4"
# Of a probability from the logit beside it: 16 bits of precision, twice
ACTIVATION_TOLERANCE = 0.02


@dataclass(frozen=True)
class ServedCheckpoint:
    """What is opened of a checkpoint: all but its weights. `identity` is what of it decides a score."""

    config: Any
    tokenizer: Any
    encoding: StepEncoding
    scores_steps: bool
    marker_id: int | None
    aggregation: Aggregation
    calibration: Calibration
    identity: object


def connect_scorer(
    path: str,
    servers: tuple[str, ...],
    *,
    model: str | None = None,
    settings: RequestSettings | None = None,
    trust_remote_code: bool = False,
    prm_format: PrmFormat = AUTO,
) -> ServedScorer:
    """The scorer `path` (a folder or Hub name, of which config and tokenizer are opened), whose weights
    `servers` hold under the name `model` (None: the only one that they serve).

    Its `scorer_id` hashes the name that the servers give the model, tokenizer, encoding and calibration, and
    the weight files where the folder holds them. It is never that of the scorer in this process: a server
    proves neither weights nor precision. Name the model otherwise when you change what is served.

    Raises InputError for a kind of model whose scores no server pools, and where a server does not answer,
    serves something else, or gives other scores than the others.
    """
    asking = settings or RequestSettings()
    checkpoint = open_checkpoint(path, prm_format, trust_remote_code)

    async def probe() -> dict[str, tuple[ModelCard, float]]:
        return await probe_present(
            server_urls(servers), asking, lambda url, few: _probe(url, model, checkpoint, few)
        )

    # So that it does not matter whether an event loop runs here
    found = run_in_thread(lambda: asyncio.run(probe()))
    first_url, (first, _) = next(iter(found.items()))
    for url, served in found.items():
        _check_replica(url, served, first_url, found[first_url])
    lengths = [card.max_model_len for card, _ in found.values() if card.max_model_len is not None]
    reach = min(context_length(checkpoint.config), *lengths)
    border = short_length(checkpoint.config)
    if border is not None and reach > border:
        raise InputError(
            f"{path}: rotates positions otherwise beyond {border} tokens (LongRoPE), which servers do for "
            f"all texts alike; expected servers with a max_model_len of {border}, or no servers"
        )

    async def check(url: str) -> None:
        now = await _probe(url, first.id, checkpoint, replace(asking, n_attempts=1))
        _check_replica(url, now, first_url, found[first_url])
        if now[0].max_model_len is not None and now[0].max_model_len < reach:
            raise NotAReplicaError(
                f"{url}: max_model_len is {now[0].max_model_len}, expected {reach} or more"
            )

    logger.info("%s: %s behind %s", path, first.id, ", ".join(found))
    return ServedScorer(
        Servers(Replicas(lambda: server_urls(servers), found, check, check), asking, reach),
        Pooling(first.id, checkpoint.scores_steps, checkpoint.marker_id),
        checkpoint.encoding,
        scorer_id=_scorer_id(path, first.id, checkpoint),
        aggregation=checkpoint.aggregation,
        calibration=checkpoint.calibration,
    )


def _check_replica(
    url: str, served: tuple[ModelCard, float], first_url: str, first: tuple[ModelCard, float]
) -> None:
    """Raises NotAReplicaError where a server has another model than the first had, by its name or by what it
    scores.
    """
    (card, score), (first_card, first_score) = served, first
    if card.id != first_card.id or abs(score - first_score) > SCORE_TOLERANCES["bfloat16"]:
        raise NotAReplicaError(
            f"{url}: {card.id} scores one path {score:.3f}, {first_card.id} at {first_url} "
            f"{first_score:.3f}; expected replicas under one name"
        )


def open_checkpoint(
    path: str, prm_format: PrmFormat = AUTO, trust_remote_code: bool = False
) -> ServedCheckpoint:
    """Raises InputError for a kind or a format that servers cannot pool scores of."""
    foreign = format_of(path, prm_format)
    if foreign is not None:
        return _open_foreign(path, foreign, prm_format.separator)
    config = load_model_config(path, trust_remote_code)
    kind = kind_of(config)
    if kind.serving.name not in ("prm", "orm"):
        raise InputError(
            f"{path}: servers pool no scores of a checkpoint of kind {kind.name}; expected a PRM or an ORM, "
            "or no scorer.servers"
        )
    facts = kind.read_facts(config)
    tokenizer = load_tokenizer(path, trust_remote_code)
    encoding = kind.encoding(tokenizer, facts)
    return ServedCheckpoint(
        config,
        tokenizer,
        encoding,
        kind.scores_steps,
        encoding.marker_id,
        facts.aggregation,
        facts.calibration,
        score_facts(facts),
    )


def _open_foreign(path: str, name: str, separator: str) -> ServedCheckpoint:
    """Token classifiers alone. As `prm_train.scoring.foreign` encodes and aggregates."""
    if name not in ("trl", "qwen"):
        raise InputError(
            f"{path}: servers pool no scores of a PRM of the format {name}; expected trl, qwen or a model of "
            "train-prm or train-orm, or no scorer.servers"
        )
    config, tokenizer = load_model_config(path), load_tokenizer(path)
    identity = ("foreign", name, separator)
    if name == "trl":
        return ServedCheckpoint(
            config,
            tokenizer,
            TrlEncoding(tokenizer, separator),
            True,
            None,
            TRL_AGGREGATION,
            UNCALIBRATED,
            identity,
        )
    encoding = qwen_encoding(tokenizer, path)
    return ServedCheckpoint(
        config, tokenizer, encoding, True, encoding.marker_id, QWEN_AGGREGATION, UNCALIBRATED, identity
    )


def _scorer_id(path: str, served_name: str, checkpoint: ServedCheckpoint) -> str:
    weights = sorted(Path(path).glob("*.safetensors"))
    tokenizer = (sorted(checkpoint.tokenizer.get_vocab().items()), checkpoint.tokenizer.chat_template)
    return content_hash(
        "served scorer",
        served_name,
        files_digest(weights) if weights else "",
        tokenizer,
        checkpoint.identity,
    )


async def _probe(
    url: str, model: str | None, checkpoint: ServedCheckpoint, settings: RequestSettings
) -> tuple[ModelCard, float]:
    """What a server says of its model, and the uncalibrated score that it gives a path. Raises InputError
    where it does not return logits when it is asked for them.
    """
    head = checkpoint.encoding.encode_head(PROBE_QUESTION)
    ids = (*head, *checkpoint.encoding.encode_step(PROBE_STEP))
    async with ServerPool((url,), settings) as pool:
        card = await get_card(pool, url, model)
        pooling = Pooling(card.id, checkpoint.scores_steps, checkpoint.marker_id)

        async def numbers(use_activation: bool) -> list[float]:
            request = pooling.request(ids, use_activation=use_activation)
            (found,) = await pool.post(
                "/pooling", request, len(ids), None, 0, _strictly(url, pool, pooling, ids)
            )
            return found

        try:
            raw, shown = await numbers(use_activation=False), await numbers(use_activation=True)
        except ServerError as error:
            raise InputError(
                f"{error}; a scorer needs a server that pools, such as vllm serve --runner pooling"
            ) from error
    score = float(sigmoid(raw[-1] - raw[0] if checkpoint.scores_steps else raw[0]))
    is_as_it_is = not checkpoint.scores_steps and checkpoint.config.problem_type == "regression"
    if not is_as_it_is and not math.isclose(score, shown[-1], abs_tol=ACTIVATION_TOLERANCE):
        raise InputError(
            f"{url}: gave {_shown(raw)} for logits and {_shown(shown)} for probabilities of one path; "
            "expected them to belong together (a server that heeds use_activation, the checkpoint's model)"
        )
    return card, score


def _strictly(
    url: str, pool: ServerPool, pooling: Pooling, ids: tuple[int, ...]
) -> Callable[[bytes], list[list[float]]]:
    """Reads a first reply, which tells what kind of server it is: to ask again helps nobody."""

    def read(body: bytes) -> list[list[float]]:
        try:
            return pooling.read(body, ids, [len(ids) - 1])
        except WrongReplyError as fault:
            task = "token_classify" if pooling.scores_steps else "classify"
            raise InputError(f"{url}: {pool.shown(str(fault))} (task {task})") from None

    return read


def _shown(numbers: list[float]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"
