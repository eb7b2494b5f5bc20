"""The scores of attempts: by a checkpoint, or from files of stored scores. Each distinct attempt is scored
once, and its steps in one forward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import read_objects
from data_gen.files.run_folder import for_each
from data_gen.policies.config import PolicyConfig
from data_gen.process.side_by_side import side_by_side
from data_gen.settings.errors import InputError
from prm_train.benchmarking.rows import Attempt
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.scoring.protocol import PathTooLongError, Scorer
from prm_train.search.solution_scores import Scores, read_row, score_steps


@dataclass(frozen=True)
class Scored:
    """Scores in [0, 1] of attempts: of a PRM one a step, of an ORM one; None beyond the scorer's context.

    `own_threshold` is the one that training or `calibrate` has stored in a checkpoint of this project.
    """

    name: str
    by_attempt: Mapping[Attempt, Scores]
    aggregation: Aggregation = "min"
    scorer_id: str | None = None
    own_threshold: float | None = None

    def steps(self, attempt: Attempt) -> tuple[float, ...]:
        """The scores of the steps that the scorer could read."""
        found = self.by_attempt[attempt]
        return tuple(score for score in found if score is not None)

    def listed(self, attempt: Attempt | None) -> list[float | None] | None:
        """As predictions.jsonl holds them."""
        found = None if attempt is None else self.by_attempt.get(attempt)
        return None if found is None else list(found)

    def whole(self, attempt: Attempt) -> float | None:
        """One score of the attempt; None where the scorer could not read all of it."""
        found = self.steps(attempt)
        return aggregate(found, self.aggregation) if len(found) == len(self.by_attempt[attempt]) else None


async def scored(
    config: BenchmarkConfig, attempts: Sequence[Attempt], needs_steps: bool, needs_scorer: bool = True
) -> Scored:
    """Raises InputError without a scorer and scores, for an ORM where step scores are needed, and where
    stored scores lack an attempt. A benchmark that needs no scorer gets no scores where none is named.
    """
    if config.checkpoint is None and not config.scores and not needs_scorer:
        return Scored("none", {}, config.aggregation or "min")
    if config.checkpoint is None:
        found = stored_scores(config.scores, config.step_separator)
        _check_stored(found, attempts, config.scores, needs_steps)
        kept = {attempt: found[attempt] for attempt in attempts}
        return Scored(", ".join(map(str, config.scores)), kept, config.aggregation or "min")
    policy = PolicyConfig(trust_remote_code=config.trust_remote_code)  # says where a scorer runs by default
    scorer = config.scorer.load(config.checkpoint, policy, config.prm_format)
    if needs_steps and not scorer.scores_steps:
        raise InputError(
            f"checkpoint {config.checkpoint}: an ORM, which scores whole solutions; expected a PRM"
        )
    return Scored(
        config.checkpoint,
        await score_attempts(scorer, attempts),
        config.aggregation or scorer.aggregation,
        scorer.scorer_id,
        own_threshold(config),
    )


async def score_attempts(scorer: Scorer, attempts: Sequence[Attempt]) -> dict[Attempt, Scores]:
    """The attempts at one question in one session, which computes what they share once."""
    by_question: dict[str, dict[Attempt, None]] = {}
    for attempt in attempts:
        by_question.setdefault(attempt.question, {})[attempt] = None

    async def one(question: str) -> list[tuple[Attempt, Scores]]:
        own = list(by_question[question])
        try:
            async with scorer.session(question) as tree:
                found = await side_by_side(score_steps(scorer, tree, each.steps) for each in own)
        except PathTooLongError:  # the question alone
            found = [(None,) * (len(each.steps) if scorer.scores_steps else 1) for each in own]
        return list(zip(own, found, strict=True))

    questions = list(by_question)
    return dict(
        pair
        for pairs in await for_each(questions, one, what="score", unit="questions", at_once=64)
        for pair in pairs
    )


def own_threshold(config: BenchmarkConfig) -> float | None:
    """What the checkpoint's own validation chose; None for other projects' PRMs, which say none, and where
    its scores are combined with others or replaced by bounds: the threshold is for neither.
    """
    from prm_train.checkpoints.facts import read_config_facts
    from prm_train.metrics.calibration import OWN_VALIDATION
    from prm_train.scoring.foreign.formats import format_of

    if config.checkpoint is None or not config.scorer.gives_own_scores:
        return None
    if format_of(config.checkpoint, config.prm_format) is not None:
        return None
    thresholds = read_config_facts(config.checkpoint, config.trust_remote_code).thresholds
    return next((each.value for each in thresholds if each.tuned_on == OWN_VALIDATION), None)


# --- stored scores


def stored_scores(files: Sequence[Path], step_separator: str) -> dict[Attempt, Scores]:
    """The scores in files by attempt: a row holds question, solution and `scores` (null: none). Raises
    InputError where a score is none, or one attempt has two scores.
    """
    found: dict[Attempt, Scores] = {}
    for path in files:
        for number, fields in read_objects(path):
            where = f"{path}:{number}"
            if fields.get("scores", ...) is None:  # of predictions: nothing was scored
                continue
            row = read_row(fields, where, step_separator)
            attempt, scores = Attempt(row.question, row.steps), _scores(fields, len(row.steps), where)
            if found.setdefault(attempt, scores) != scores:
                raise InputError(f"{where}: other scores than an earlier row has for the same steps")
    return found


def _scores(fields: Mapping[str, Any], n_steps: int, where: str) -> Scores:
    found = fields.get("scores")
    if not isinstance(found, list) or len(found) not in (1, n_steps):
        got = f"{len(found)} of them" if isinstance(found, list) else type(found).__name__
        raise InputError(f"{where}: scores: got {got}, expected a list of one a step ({n_steps}), or of one")
    n_known = len(found) - found.count(None)
    if None in found[:n_known]:
        # What is read are the first steps: a gap would give a step the score of another one
        raise InputError(f"{where}: scores: got null before a number; expected null for the last steps alone")
    for score in found:
        is_score = isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
        if score is not None and not is_score:
            raise InputError(f"{where}: scores: got {score!r:.40}, expected numbers from 0 to 1, or null")
    return tuple(None if score is None else float(score) for score in found)


def _check_stored(
    found: Mapping[Attempt, Scores], attempts: Sequence[Attempt], files: Sequence[Path], needs_steps: bool
) -> None:
    if not files:
        raise InputError("checkpoint: got none, and no scores; expected a scorer, or stored scores")
    names = ", ".join(map(str, files))
    missing = [attempt for attempt in attempts if attempt not in found]
    if missing:
        raise InputError(
            f"{names}: no scores for {len(missing)} of {len(attempts)} solutions, as of "
            f"{missing[0].question[:60]!r} in {len(missing[0].steps)} steps; expected rows with the "
            "same question and steps (export_rows writes them)"
        )
    if needs_steps and (short := [each for each in attempts if len(found[each]) != len(each.steps)]):
        raise InputError(
            f"{names}: one score for {len(short[0].steps)} steps of {short[0].question[:60]!r}, as an ORM "
            "gives; expected one a step"
        )
