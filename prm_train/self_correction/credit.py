"""What the tokens of two attempts are credited with: SCoRe's two stages as numbers, without a model
(Kumar et al. 2024, arXiv 2409.12917, equations 3 to 5).

    stage one   attempt 1: nothing but the KL that holds it        attempt 2: r2
    stage two   attempt 1: r1 + c * (r2 + alpha * (r2 - r1))       attempt 2: r2 + alpha * (r2 - r1)

`c` is `first_credit`. The paper writes the bonus as a reward of attempt 2. Credited to attempt 2 alone
(c = 0) it cannot change which second attempt is best: r1 is given there, so the gradient is on average that
of r2 times 1 + alpha. Credited to attempt 1, too (c = 1: the return of the whole chain), an alpha above 1
pays for wrong first attempts.

Each reward is compared with the mean of those that the other chains of the same problem got in the same place
(leave one out). An unknown verdict is no reward: its attempt gets no credit, and counts in no mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_gen.records.verdicts import Verdict
from prm_train.self_correction.settings import ScoreObjective

Reward = float | None


@dataclass(frozen=True)
class AttemptCredit:
    """`advantage` weighs the log-probability of the attempt's tokens; each nat of KL to the base costs
    `kl_price`.
    """

    advantage: float
    kl_price: float

    @property
    def is_learnt(self) -> bool:
        return self.advantage != 0 or self.kl_price != 0


def reward(verdict: Verdict) -> Reward:
    """1 for correct, 0 for incorrect, None for unknown."""
    return None if verdict.is_unknown else float(verdict.is_correct)


def rewards_of_stage(
    first: Reward, second: Reward, objective: ScoreObjective, stage: int
) -> tuple[Reward, Reward]:
    """What both attempts of a chain are rewarded with; None where that is not known."""
    if stage == 1:
        return None, second
    if first is None:
        return None, second if not objective.alpha else None
    shaped = None if second is None else second + objective.alpha * (second - first)
    if not objective.first_credit:
        return first, shaped
    return (None if shaped is None else first + objective.first_credit * shaped), shaped


def leave_one_out(rewards: Sequence[Reward]) -> list[float]:
    """Each reward minus the mean of the others; 0 for an unknown one, and where no other is known."""
    known = [each for each in rewards if each is not None]
    return [
        0.0 if each is None or len(known) < 2 else each - (sum(known) - each) / (len(known) - 1)
        for each in rewards
    ]


def group_credit(
    rewards: Sequence[tuple[Reward, Reward]], objective: ScoreObjective, stage: int
) -> list[tuple[AttemptCredit, AttemptCredit]]:
    """Of the chains of one problem, whose two attempts got `rewards`."""
    shaped = [rewards_of_stage(first, second, objective, stage) for first, second in rewards]
    prices = objective.kl_first if stage == 1 else objective.kl, objective.kl
    advantages = [leave_one_out(attempts) for attempts in zip(*shaped, strict=True)]
    return [
        (AttemptCredit(first, prices[0]), AttemptCredit(second, prices[1]))
        for first, second in zip(*advantages, strict=True)
    ]
