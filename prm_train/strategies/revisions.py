"""Sequential revisions (Snell et al. 2024, section 6): attempts that look at those before them.

    N attempts in chains of N / n_chains that know nothing of each other
    the first attempt of a chain is drawn from the question alone
    each next one after a chat that shows the last four (`n_shown`) attempts of its chain

The answer is chosen by a verifier in each chain, and then among the chains (`voting.chain_votes`), or by a
vote among all attempts. N chains of one attempt are best-of-N, draw by draw; so is any number of chains with
`n_shown` = 0, whose attempts see nothing. Where the number of chains does not divide N, the first ones are
longer by one.

What is shown is what a revision model was trained to see: finished attempts that state an answer
(`data_gen.rows.filters`). One that a limit cut, or without an answer, counts as one of the N, but the next
one is drawn after the chat as it was, from another index. A chat that leaves no room for `max_new_tokens`
loses its oldest attempts, as in training. Unlike in training a model may repeat itself, and a chat then shows
a text twice.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.chats import ChainPrompts, Message, chain_prompt, without_oldest
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Question, Solution
from data_gen.records.steps import split_steps
from data_gen.sampling.solutions import Prefix, draw_solution
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import ChatScorer, PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.strategies.best_of_n import as_candidate, score_candidates, score_path
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.draw_indices import DrawIndices
from prm_train.strategies.paths import even_shares
from prm_train.strategies.ranges import check_at_least

Verifier = Literal["orm", "prm", "none"]


@dataclass(frozen=True)
class RevisionsConfig:
    """`n` attempts in `n_chains` chains, or in `n` if that is less; `n_shown` of a chain are shown to its
    next one.

    With `base_first` the policy writes the attempts that see no other, and the revision model the rest;
    without, the revision model writes all. `verifier` scores the attempts, and `aggregation` makes one score
    of a PRM's.
    """

    n: int = 16
    n_chains: int = 4
    n_shown: int = 4
    base_first: bool = False
    verifier: Verifier = "none"
    aggregation: Aggregation = "last"

    def __post_init__(self) -> None:
        check_at_least(1, n_chains=self.n_chains)
        check_at_least(0, n_shown=self.n_shown)


@dataclass(frozen=True)
class Attempt:
    """A candidate, not graded, and the chat that it was drawn after."""

    candidate: Candidate
    chat: tuple[Message, ...]


@dataclass(frozen=True)
class Reviser:
    """Who writes the attempts at a question: `first` those that see no other, `policy` the rest.

    `indices` are those of one run; each draw of a prompt, and of a chat that two chains happen to share, is
    made once.
    """

    policy: LedgerPolicy
    first: LedgerPolicy
    reader: AnswerReader
    params: SamplingParams
    prompts: ChainPrompts = field(default_factory=ChainPrompts)
    indices: DrawIndices = field(default_factory=DrawIndices)

    def chat_after(self, chain: Sequence[Attempt], n_shown: int) -> tuple[Message, ...]:
        """With the last attempts of a chain that can be shown, as far as the context has room for them."""
        texts = [attempt.candidate.text for attempt in chain if attempt.candidate.can_vote]
        chat = chain_prompt(self.policy.question, texts[max(len(texts) - n_shown, 0) :], self.prompts)
        room = self.policy.context_length - self.params.max_new_tokens
        while shows_attempts(chat) and len(self.policy.encode_chat(chat)) > room:
            chat = without_oldest(chat)
        return chat

    async def attempts_after(self, chats: Sequence[tuple[Message, ...]]) -> list[Attempt]:
        """One after each chat. Indices are taken in the order of the chats, so what is drawn does not depend
        on which draw is ready first.
        """
        solutions = await self.solutions_after(chats)
        answers = [self.reader.read_answer(self.policy.question, solution) for solution in solutions]
        return [
            Attempt(as_candidate(solution, answer), chat)
            for solution, answer, chat in zip(solutions, answers, chats, strict=True)
        ]

    async def solutions_after(self, chats: Sequence[tuple[Message, ...]]) -> list[Solution]:
        """One after each chat, as it was written; see `attempts_after`."""
        return await side_by_side([self._solution(chat) for chat in chats])

    def _solution(self, chat: tuple[Message, ...]) -> Coroutine[Any, Any, Solution]:
        writer = self.policy if shows_attempts(chat) else self.first
        question = writer.question.question
        ids = writer.encode_chat(chat) if shows_attempts(chat) else writer.encode_prompt(question)
        (index,) = self.indices.take(ids, 1)
        return draw_solution(writer, Prefix(ids), self.params, index)


def shows_attempts(chat: Sequence[Message]) -> bool:
    return any(message.role == "assistant" for message in chat)


async def revisions(reviser: Reviser, config: RevisionsConfig) -> list[Attempt]:
    """The attempts chain by chain, each chain in the order in which it was written."""
    lengths = even_shares(config.n, min(config.n_chains, config.n))
    chains: list[list[Attempt]] = [[] for _ in lengths]
    for n_written in range(max(lengths)):
        open_chains = [chain for chain, n in zip(chains, lengths, strict=True) if n_written < n]
        chats = [reviser.chat_after(chain, config.n_shown) for chain in open_chains]
        for chain, attempt in zip(open_chains, await reviser.attempts_after(chats), strict=True):
            chain.append(attempt)
    written = [(number, attempt) for number, chain in enumerate(chains) for attempt in chain]
    return [
        replace(attempt, candidate=replace(attempt.candidate, index=index, chain=number))
        for index, (number, attempt) in enumerate(written)
    ]


async def score_attempts(
    question: Question, attempts: Sequence[Attempt], scorer: Scorer, name: str, separator: str
) -> tuple[list[Candidate], ScorerUsage]:
    """The candidates with scores under `name`. A verifier that was trained on chains sees the attempts before
    each, any other one the attempt alone.

    Attempts after one chat are scored in one tree, which computes what they share once. An attempt without a
    step, or too long for the scorer, gets no score. Raises PathTooLongError where the
    question alone is.
    """
    if not (isinstance(scorer, ChatScorer) and scorer.sees_attempts):
        alone = [attempt.candidate for attempt in attempts]
        return await score_candidates(question, alone, scorer, name, separator)
    places: dict[tuple[Message, ...], list[int]] = {}
    for place, attempt in enumerate(attempts):
        places.setdefault(attempt.chat, []).append(place)
    groups = await side_by_side(
        _scored_in_view(chat, [attempts[i].candidate for i in group], scorer, name, separator)
        for chat, group in places.items()
    )
    scored = {
        place: candidate
        for group, (candidates, _) in zip(places.values(), groups, strict=True)
        for place, candidate in zip(group, candidates, strict=True)
    }
    return [scored[place] for place in range(len(attempts))], sum((each for _, each in groups), ScorerUsage())


async def _scored_in_view(
    chat: tuple[Message, ...], candidates: Sequence[Candidate], scorer: ChatScorer, name: str, separator: str
) -> tuple[list[Candidate], ScorerUsage]:
    """The candidates after a chat with their scores, in one tree, and what that cost. Those that do not fit
    behind the chat are scored after one without its oldest attempt.
    """

    async def path_scores(tree: ScoringTree, steps: tuple[str, ...]) -> tuple[float, ...] | None:
        try:
            return await score_path(tree, steps, scorer.scores_steps)
        except PathTooLongError:
            return None

    usage, scores = ScorerUsage(), dict[int, tuple[float, ...]]()
    steps_of = {i: split_steps(each.text, separator) for i, each in enumerate(candidates)}
    rest = [i for i, steps in steps_of.items() if steps]
    while rest:
        try:
            async with scorer.chat_session(chat) as tree:
                found = await side_by_side([path_scores(tree, steps_of[i]) for i in rest])
                usage += tree.usage
            scores |= {i: each for i, each in zip(rest, found, strict=True) if each is not None}
        except PathTooLongError:  # the chat alone
            pass
        rest = [i for i in rest if i not in scores]
        if not shows_attempts(chat):
            break
        chat = without_oldest(chat)
    scored = [
        replace(each, scores={**each.scores, name: scores[i]}) if i in scores else each
        for i, each in enumerate(candidates)
    ]
    return scored, usage
