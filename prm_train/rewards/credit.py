"""Credit for the steps of a policy's completions: `StepCredit` scores them and turns scores to advantages."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_gen.process.event_loops import run_apart
from data_gen.settings.errors import InputError
from prm_train.kinds.load import load_scorer
from prm_train.metrics.ranking import auroc
from prm_train.rewards.completion_scores import CompletionScores, gather_scores, whole_score
from prm_train.rewards.forms import Floats
from prm_train.rewards.group_credit import Credit, CreditRules, Form, Outcome, credit_of_group
from prm_train.rewards.loaded_once import LoadedOnce
from prm_train.rewards.step_spans import CompletionSteps, StepFinder
from prm_train.rewards.work import Log, RewardWork, logged
from prm_train.scoring.protocol import Scorer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ScoredSteps:
    """Of a batch: the steps of each completion and their scores."""

    steps: tuple[CompletionSteps, ...]
    scores: tuple[CompletionScores, ...]


class StepCredit:
    """Step scores of `scorer` as credit, in one of the forms of `prm_train.rewards.forms`.

    The advantage of step k of completion i of a group is

        outcome_weight · (R_i - mean of the others' R) + step_weight · (credit of the step)

    `min` and `outcome_centred`: the return to go of its step rewards above the others' mean return to go.
    `advantage`: the step's own progress, V_0 being the mean first value of the others. `gate` and `filter`
    change the outcomes or choose among them, and every step gets the outcome's advantage. What is unknown, an
    outcome (for forms that read it, and wherever outcome_weight > 0) or a score, excludes the completion: its
    advantage is 0 and no other's baseline sees it. It never counts as wrong.

    `scorer` is a PRM of `load_scorer`, or a folder or Hub name for it (on the CPU, picklable); for PAV that
    of a prover. `separator` is what ends the policy's steps. The question is the dataset's column
    `question_column`, or what the user said last in a prompt of messages. `rules` are the numbers of
    `CreditRules`: step_weight, outcome_weight, temperature, gamma, rho, kept_share, right_from.

    Raises InputError for rules that cannot be, and for the raw sum of scores.
    """

    def __init__(
        self,
        scorer: Scorer | str,
        form: Form,
        *,
        separator: str = "\n",
        question_column: str = "question",
        **rules: float,
    ) -> None:
        self.rules = CreditRules(form, **rules)
        self.separator, self.question_column = separator, question_column
        self.work = RewardWork()
        self._scorer: LoadedOnce[Scorer] = LoadedOnce(scorer, load_scorer)
        self._finder: tuple[PreTrainedTokenizerBase, StepFinder] | None = None

    @property
    def scorer(self) -> Scorer:
        """Raises InputError for an ORM, which says nothing of steps."""
        scorer = self._scorer.get()
        if not scorer.scores_steps:
            raise InputError(f"{scorer.scorer_id}: an ORM, expected a PRM, which scores steps")
        return scorer

    def score(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        questions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        log: Log | None = None,
    ) -> ScoredSteps:
        """Steps and scores of completions, given as the ids of the policy's `tokenizer` up to EOS, in one
        call: completions of one question share what they share.
        """
        return run_apart(self.gather(tokenizer, questions, completion_ids, log))

    async def gather(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        questions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        log: Log | None = None,
    ) -> ScoredSteps:
        """`score` for callers in an event loop, whose calls side by side share waves."""
        with logged(self.work, "step_credit", len(questions), log):
            if self._finder is None or self._finder[0] is not tokenizer:
                self._finder = tokenizer, StepFinder(tokenizer, self.separator)
            steps = tuple(map(self._finder[1].find, completion_ids))
            batch = await gather_scores(self.scorer, questions, [each.texts for each in steps])
            self.work.n_tokens += batch.usage.n_new
            self.work.unknown.update(each.failure for each in batch.completions if each.failure)
        if log is not None and steps:
            log("step_credit/n_steps", float(np.mean([len(each.texts) for each in steps])))
        return ScoredSteps(steps, batch.completions)

    def credit(
        self,
        outcomes: Sequence[Outcome],
        scores: Sequence[CompletionScores],
        groups: Sequence[Hashable],
        *,
        scale: bool = False,
        verdicts: Sequence[Outcome] | None = None,
        log: Log | None = None,
    ) -> Credit:
        """Of a batch; `groups` names the prompt of each completion. `scale` divides the outcome's part by the
        standard deviation of the group's outcomes, as GRPO does. `verdicts`, 1 for right and 0 for wrong, are
        what the logged agreement of the scorer is with, where outcomes are weighted or hold more.
        """
        if not len(outcomes) == len(scores) == len(groups):
            raise ValueError(
                f"{len(outcomes)} outcomes, {len(scores)} scored completions, {len(groups)} names of groups; "
                "expected as many of each"
            )
        advantages: list[Floats] = [np.zeros(0)] * len(scores)
        rewards: list[Floats] = [np.zeros(0)] * len(scores)
        excluded: list[str | None] = [None] * len(scores)
        for group in dict.fromkeys(groups):
            places = [n for n, each in enumerate(groups) if each == group]
            own = [outcomes[n] for n in places], [scores[n] for n in places]
            found = credit_of_group(self.rules, *own, scale)
            for n, above, earned, reason in zip(
                places, found.advantages, found.rewards, found.excluded, strict=True
            ):
                advantages[n], rewards[n], excluded[n] = above, earned, reason
        credit = Credit(tuple(advantages), tuple(rewards), tuple(excluded))
        if log is not None:
            self._log_facts(outcomes if verdicts is None else verdicts, scores, credit, log)
        return credit

    def _log_facts(
        self, outcomes: Sequence[Outcome], scores: Sequence[CompletionScores], credit: Credit, log: Log
    ) -> None:
        """Which share is excluded, by reason, and the AUROC by which the scorer's score of a completion tells
        right from wrong, unless all are one kind: what `prm_train.rewards.monitors` watches.
        """
        for reason in sorted({each for each in credit.excluded if each}):
            share = credit.excluded.count(reason) / len(scores)
            log(f"step_credit/excluded/{reason.replace(' ', '_')}", share)
        told = [
            (whole, self.rules.is_right(outcome))
            for each, outcome in zip(scores, outcomes, strict=True)
            if outcome is not None and (whole := whole_score(self.scorer, each)) is not None
        ]
        agreement = auroc([score for score, _ in told], [right for _, right in told])
        if agreement is not None:
            log("step_credit/auroc", agreement)
