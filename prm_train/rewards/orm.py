"""The score of a whole completion as its reward."""

from collections.abc import Sequence
from typing import Any

from data_gen.records.steps import split_steps
from prm_train.kinds.load import load_scorer
from prm_train.rewards.completion_scores import score_completions, whole_score
from prm_train.rewards.loaded_once import LoadedOnce
from prm_train.rewards.texts import completion_text, question_texts
from prm_train.rewards.work import Log, RewardWork, logged
from prm_train.scoring.protocol import Scorer


class OrmReward:
    """A reward function of TRL: an ORM's score in [0, 1] of each completion; of a PRM its step scores,
    aggregated as it was trained to be read. None where there is no score: no step, too long, a server that
    failed.

    `scorer` is one of `load_scorer`, or a folder or Hub name for it (such a reward can be pickled; it runs on
    the CPU). `separator` is what ends the policy's steps.
    """

    def __init__(
        self, scorer: Scorer | str, *, separator: str = "\n", question_column: str = "question"
    ) -> None:
        self.__name__ = "orm"  # under which trainers log it
        self.separator, self.question_column = separator, question_column
        self.work = RewardWork()
        self._scorer: LoadedOnce[Scorer] = LoadedOnce(scorer, load_scorer)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Log | None = None,
        **columns: Any,
    ) -> list[float | None]:
        with logged(self.work, self.__name__, len(completions), log_metric):
            questions = question_texts(prompts, columns, self.question_column)
            steps = [split_steps(completion_text(each), self.separator) for each in completions]
            scorer = self._scorer.get()
            batch = score_completions(scorer, questions, steps)
            self.work.n_tokens += batch.usage.n_new
            self.work.unknown.update(each.failure for each in batch.completions if each.failure)
            return [whole_score(scorer, each) for each in batch.completions]
