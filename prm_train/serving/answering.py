"""From a request to an answer: the prompt's ids, the search (`prm_train.search.solve`), and what it found.

The draws of a request are those of its seed: the same request with a seed has the same answer, and with
another n or budget shares what was drawn, if the server keeps a ledger. A request without seed gets one,
which the reply names.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.protocol import Policy
from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.policies.servers.server_errors import ServerError
from data_gen.process.daemon_threads import DaemonThreads
from data_gen.records.draw_keys import content_hash, derive_seed
from data_gen.records.grader import AnswerReader
from data_gen.settings.errors import InputError
from prm_train.scoring.flops import ForwardFlops, known_flops
from prm_train.scoring.protocol import Scorer
from prm_train.search.answer import Answer
from prm_train.search.routing.fits import Fits
from prm_train.search.solve import AnySolver, as_allocated
from prm_train.search.solve_settings import SolveSettings
from prm_train.search.solving.solver import Solver
from prm_train.serving.chats import Asked, AskedPolicy, ChargedScorer, encode_asked, scorer_for
from prm_train.serving.operations.accounts import counting_draws
from prm_train.serving.operations.draw_cache import DrawCache
from prm_train.serving.operations.ledger_file import LedgerFile
from prm_train.strategies.trace import UNWATCHED, SearchWatch

logger = logging.getLogger(__name__)
# Where it is, and what it said, is for the log and not for every client
BEHIND_FAILED = "a server behind this one failed; the log says more"
SEED_BITS = 53  # of a seed that the server chooses: a JSON number keeps them
BAD_GATEWAY, NOT_FOUND = 502, 404


@dataclass(frozen=True)
class Models:
    """What a server holds in memory. `ledger` keeps all draws; None: those of a request end with it.

    `policy` and `scorer` are those of requests that name no other; `policies` and `scorers` are the others,
    by name, `large_policy` is the last step of a router. `fits` are the allocation and the router of requests
    that do not say how to answer.
    """

    policy: Policy
    scorer: Scorer | None
    reader: AnswerReader
    flops: Mapping[str, ForwardFlops] = field(default_factory=dict)
    ledger: LedgerFile | None = None
    policies: Mapping[str, Policy] = field(default_factory=dict)
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    large_policy: Policy | None = None
    fits: Fits = field(default_factory=Fits)

    def choose(self, policy: str | None, scorer: str | None) -> "Models":
        """With the policy and the scorer of these names (None: the server's own) as its own."""
        if policy is None and scorer is None:
            return self
        chosen = self.policy if policy is None else self.policies[policy]
        judge = self.scorer if scorer is None else self.scorers[scorer]
        return replace(self, policy=chosen, scorer=judge, flops=known_flops(chosen, judge))

    @property
    def fingerprint(self) -> str:
        """Of the weights of policy and scorer."""
        scorer_id = self.scorer.scorer_id if self.scorer is not None else None
        return f"fp_{content_hash(self.policy.policy_id, scorer_id)[:12]}"

    def open_ledger(self) -> AbstractContextManager[Ledger]:
        return self.ledger.open() if self.ledger is not None else Ledger(IN_MEMORY)


def chosen_name(field: str, given: str | None, own: str | None, others: Iterable[str]) -> str | None:
    """Which of the others a client means; None: the server's own. Raises BadRequestError (404)."""
    if given is None or given == own:
        return None
    known = list(others)
    if given not in known:
        names = ", ".join(repr(name) for name in (own, *known) if name is not None)
        raise BadRequestError(f"{field}: got {given!r}; this server serves {names or 'none'}", NOT_FOUND)
    return given


@dataclass(frozen=True)
class Found:
    """An answer, the seed of its draws, and how long the prompt was. Of the tokens that it took `n_drawn`
    were generated for it; the rest were in the ledger. `is_cached`: an earlier request has had it.
    """

    answer: Answer
    seed: int
    n_prompt_tokens: int
    n_drawn: int = 0
    is_cached: bool = False
    money: float | None = None  # None without prices


def first_draw(seed: int) -> int:
    """The draws of two seeds are far apart."""
    return derive_seed("request", seed) >> 1


class Answerer:
    """Answers what clients ask. Texts become ids in a thread, so that a long one holds up nobody else."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._longest_token = max(map(len, models.policy.token_bytes()))
        self._encoding = DaemonThreads(1)
        # Of solvers that are only made, to see whether they can be: to open one takes half a millisecond
        self._unused_ledger: Ledger | None = None

    async def prompt_ids(self, asked: Asked) -> tuple[int, ...]:
        """Raises BadRequestError for what fills the policy's context, before it costs anything."""
        policy = self.models.policy
        longest = policy.context_length * self._longest_token
        if asked.n_bytes > longest:
            raise BadRequestError(
                f"messages: {asked.n_bytes} bytes leave no room in a context of {policy.context_length} "
                f"tokens, which hold at most {longest}"
            )
        ids = await self._encoding.call(encode_asked, policy, asked)
        if len(ids) >= policy.context_length:
            raise BadRequestError(
                f"messages: {len(ids)} tokens leave no room in a context of {policy.context_length} tokens"
            )
        return ids

    async def ask(self, asked: Asked, settings: SolveSettings, seed: int | None) -> "Asking":
        """What is to be searched for. Raises BadRequestError where settings do not go together with policy
        and scorer, or these cannot read what was asked.
        """
        prompt_ids = await self.prompt_ids(asked)
        asking = Asking(
            self.models,
            asked,
            prompt_ids,
            settings,
            secrets.randbits(SEED_BITS) if seed is None else seed,
        )
        if self._unused_ledger is None:
            self._unused_ledger = Ledger(IN_MEMORY)
        asking.solver(self._unused_ledger)
        return asking


@dataclass(frozen=True)
class Asking:
    """A question with all that decides its answer; `watch` and `tell` (see `AskedPolicy`) hear of it
    meanwhile. Samples that a rule for stopping does not need any more are cancelled at once.
    """

    models: Models
    asked: Asked
    prompt_ids: tuple[int, ...]
    settings: SolveSettings
    seed: int
    watch: SearchWatch = UNWATCHED
    tell: Callable[[Sequence[int], Sequence[int]], None] | None = None
    cache_key: str | None = None  # by which the answer is kept (`operations.answer_cache`)
    may_be_cached: bool = True  # one that is kept will do
    may_be_kept: bool = True  # its draws in the server's ledger
    prices: Mapping[str, float | None] = field(default_factory=dict)  # of its policy and scorer
    draws: DrawCache | None = None  # where there is none, and draws are kept all the same

    def solver(self, ledger: Ledger) -> AnySolver:
        """Raises BadRequestError."""
        models, settings, scorer = self.models, self.settings, None
        if models.scorer is not None and (settings.needs_scorer or settings.allocation is not None):
            scorer = ChargedScorer(scorer_for(models.scorer, self.asked))
        large = None
        if models.large_policy is not None and settings.router is not None:
            large = AskedPolicy(models.large_policy, encode_asked(models.large_policy, self.asked))
        policy = AskedPolicy(models.policy, self.prompt_ids, self.tell)
        try:
            return as_allocated(
                Solver(
                    settings,
                    policy,
                    scorer,
                    models.reader,
                    ledger,
                    models.flops,
                    first_draw=first_draw(self.seed),
                    watch=self.watch,
                    is_eager=True,
                ),
                large,
                models.fits,
            )
        except ValueError as error:
            raise BadRequestError(str(error)) from error

    def _open_ledger(self) -> AbstractContextManager[Ledger]:
        if not self.may_be_kept:
            return Ledger(IN_MEMORY)
        if self.draws is None or self.models.ledger is not None:
            return self.models.open_ledger()
        policy = self.models.policy
        return self.draws.open(content_hash(policy.policy_id, policy.base_seed, self.prompt_ids, self.seed))

    async def answer(self) -> Found:
        """Raises BadRequestError, with the status 502 where a server behind policy or scorer fails."""
        with self._open_ledger() as ledger, counting_draws() as drawn:
            try:
                answer = await self.solver(ledger).solve(self.asked.question)
            except ServerError as error:
                logger.warning("%s", error)
                raise BadRequestError(BEHIND_FAILED, BAD_GATEWAY) from error
            except InputError as error:  # as a scorer whose encoding knows no chats
                raise BadRequestError(str(error)) from error
        return Found(answer, self.seed, len(self.prompt_ids), drawn.n_tokens)
