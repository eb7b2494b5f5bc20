"""`prm-train calibrate`: fit a calibration and a threshold for an existing checkpoint, count how often its
scores are right, and write that into its config.json.

Rows of questions that the checkpoint was trained on are left out, as far as its training/config.json tells
which they were. Half of the others fit, half measure: see `prm_train.metrics.calibration`. An earlier
calibration is replaced; calibration.json beside it says what it is worth.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_gen.files.jsonl import read_objects
from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.examples.targets import LabelAlgebra

if TYPE_CHECKING:
    import numpy as np

    from prm_train.examples.examples import Example
    from prm_train.metrics.calibration import CalibrationFit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(LabelAlgebra):
    """Calibrate a scorer on rows of held-out questions; the label settings say what scores of steps are to
    mean.
    """

    checkpoint: Path = field(
        metadata={
            "help": "folder of a scorer that a train-… command wrote; its calibration is replaced",
            "is_model": True,
        }
    )
    rows: Path = field(
        metadata={
            "is_input": True,
            "help": "rows to fit on: JSON lines as for the training of this scorer, best of questions that "
            "it has not seen",
        }
    )
    method: Literal["platt", "temperature", "none"] = field(
        default="platt",
        metadata={
            "help": "what is fitted. platt: scale and bias; temperature: scale alone; none: a threshold alone"
        },
    )
    batch_tokens: Annotated[int, Ge(1)] = field(
        default=8192, metadata={"help": "maximum number of tokens of one forward pass, padding included"}
    )
    device: str = field(default="cpu", metadata={"help": "device of the model, as cuda:0"})
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "number format of the computation"}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files"}
    )


def held_out(checkpoint: Path, examples: "Sequence[Example]") -> "list[Example]":
    """The examples of questions that the checkpoint was not trained on. Raises InputError if none is left.

    Where the rows that trained it are gone, those of questions that its training held out by their hash.
    """
    from prm_train.examples.examples import is_validation_question
    from prm_train.metrics.training_report import TrainingData

    trained = TrainingData.of(checkpoint)
    share = trained.validation_share if trained else 0.0
    trained_on = training_questions(Path(trained.rows), share) if trained else None
    if trained_on is not None:
        kept = [example for example in examples if example.question not in trained_on]
    elif trained and share:
        logger.warning(
            "%s: the rows that trained it are gone (%s), and any question but the %g that its training held "
            "out may have been among them",
            checkpoint,
            trained.rows,
            share,
        )
        kept = [example for example in examples if is_validation_question(example.question, share)]
    else:
        logger.warning(
            "%s: nothing there tells which questions it was trained on; taking all rows to be held out",
            checkpoint,
        )
        return list(examples)
    certainty = "was" if trained_on is not None else "may have been"
    logger.info(
        "%d of %d solutions are left out: it %s trained on their questions",
        len(examples) - len(kept),
        len(examples),
        certainty,
    )
    if not kept:
        raise InputError(
            f"{checkpoint}: it {certainty} trained on the questions of all {len(examples)} solutions; "
            "expected other questions"
        )
    return kept


def training_questions(rows: Path, validation_share: float) -> set[str] | None:
    """The questions of the rows that a training with this share learnt from; None where there is no such
    file.
    """
    from prm_train.examples.examples import is_validation_question

    if not rows.is_file():
        return None
    questions = {_question(fields) for _, fields in read_objects(rows)}
    return {question for question in questions if not is_validation_question(question, validation_share)}


def _question(fields: dict[str, Any]) -> str:
    """Of a row with a plain prompt, or with a chat: the question that it names, else the first message of the
    user.
    """
    prompt = fields["prompt"]
    if isinstance(prompt, str):
        return prompt
    return fields.get("question") or next(
        message["content"] for message in prompt if message["role"] == "user"
    )


def place_logits(
    model: Any, is_of_steps: bool, examples: "Sequence[Example]", batch_tokens: int
) -> "list[np.ndarray]":
    """The log-odds at the places of each example (S,), from a checkpoint in evaluation mode."""
    import torch

    from prm_train.examples.batches import Batching, Collator
    from prm_train.training.losses import step_logits
    from prm_train.training.reward_trainer import labeled_places

    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    found: list[np.ndarray] = []
    for batch in Collator("prm" if is_of_steps else "orm", 0, Batching(len(examples), batch_tokens))(
        [examples[i] for i in order]
    )["batches"]:
        with torch.inference_mode():
            logits = model(input_ids=batch["input_ids"].to(model.device)).logits.double().cpu()
        values = step_logits(logits) if is_of_steps else logits
        found += [row.numpy() for row, _ in labeled_places(values, batch["labels"], None)]
    by_place = dict(zip(order, found, strict=True))
    return [by_place[i] for i in range(len(examples))]


def calibrate_checkpoint(config: CalibrateConfig) -> "CalibrationFit":
    """Fit, measure and write. Raises InputError for what is no PRM or ORM of ours, and CalibrationError where
    no fit can be had.
    """
    from data_gen.models.pretrained import load_model_config
    from prm_train.checkpoints.facts import store_calibration
    from prm_train.kinds.lookup import kind_of
    from prm_train.metrics.calibration import calibrate, reliability_of
    from prm_train.metrics.training_report import StoredCalibration

    kind = kind_of(load_model_config(str(config.checkpoint), config.trust_remote_code))
    model, encoding, facts = kind.load_classifier(
        str(config.checkpoint), config.dtype, config.trust_remote_code
    )
    max_length = model.config.get_text_config().max_position_embeddings
    label_settings = LabelAlgebra(**{each.name: getattr(config, each.name) for each in fields(LabelAlgebra)})
    algebra = kind.calibration_labels(str(config.checkpoint), facts, label_settings)
    examples = kind.examples(kind.read_rows(config.rows), encoding, max_length, algebra).examples
    kept = held_out(config.checkpoint, examples)
    logits = place_logits(model.to(config.device), kind.scores_steps, kept, config.batch_tokens)
    found = calibrate(logits, kept, config.method)
    reliability = reliability_of(logits, kept, found.calibration)
    store_calibration(config.checkpoint, found.calibration, found.thresholds, reliability)
    # `publish` says what scores mean by them
    stored = StoredCalibration(**vars(found), label_settings=algebra)
    stored.write(config.checkpoint / "calibration.json")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(CalibrateConfig, argv)
    check_inputs(config)
    found = calibrate_checkpoint(config)
    logger.info("%s: %s", config.checkpoint, json.dumps(asdict(found)))


if __name__ == "__main__":
    run_command(main, "calibrate")
