"""`prm-train search`: draw, score and search a set of problems. It writes evidence, one line a problem; `evaluate` makes accuracies of it.

Draws go into a ledger and a finished problem is appended to results.jsonl at once, so an interrupted search goes on where it stopped.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data_gen.config import InputError, parse_config, run_command
from data_gen.first_prompt import say_prompt
from data_gen.grading import Grader, GraderName, load_grader
from data_gen.jsonl import write_text
from data_gen.ledger import Ledger, LedgerPolicy, has_draws
from data_gen.model_names import check_inputs
from data_gen.policies.protocol import Policy
from data_gen.policy_config import PolicyConfig
from data_gen.problems import ProblemSource, select_problems, write_counts
from data_gen.records import Problem, SamplingParams, Usage, check_temperature
from data_gen.result_tables import counted, result_table, token_words
from data_gen.run_identity import check_run, claim_run
from data_gen.runs import for_each
from data_gen.steps import check_separator
from data_gen.stop_strings import check_stop_strings
from prm_train.aggregation import Aggregation
from prm_train.foreign.settings import AUTO, PrmFormat
from prm_train.scoring import PathTooLongError, Scorer, ScorerUsage
from prm_train.search.answer_classes import classify_answers, with_classes
from prm_train.search.beam import BeamConfig, beam_search
from prm_train.search.best_of_n import draw_candidates, score_candidates
from prm_train.search.candidates import Candidate
from prm_train.search.scorer_config import ScorerConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchConfig:
    """Sample, score and search problems with a policy and trained scorers."""

    output: Path = field(metadata={"help": "run folder", "is_execution": True})
    problems: ProblemSource = field(default_factory=ProblemSource)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    prm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    prm_format: PrmFormat = field(default=AUTO, metadata={"help": "of a PRM of others whose config.json does not say it"})
    orm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of an ORM"})
    n_samples: int = field(default=64, metadata={"help": "candidates a problem and temperature"})
    temperature: float = field(
        default=1.0, metadata={"help": "temperature of the scored candidates, of beam search and of the difficulty draws"}
    )
    other_temperatures: tuple[float, ...] = field(
        default=(), metadata={"help": "further candidates, not scored, for voting and log-prob baselines"}
    )
    top_p: float = field(default=1.0, metadata={"help": "draw from the fewest tokens with this share of the probability; 1: from all"})
    top_k: int = field(default=0, metadata={"help": "draw from so many of the most likely tokens; 0: from all"})
    min_p: float = field(default=0.0, metadata={"help": "draw no token below this share of the most likely one's probability"})
    stop: tuple[str, ...] = field(default=(), metadata={"help": "texts that end a solution, in which they are left out"})
    n_difficulty_draws: int = field(default=32, metadata={"help": "draws beyond n_samples that only sort problems by difficulty"})
    beams: tuple[int, ...] = field(default=(), metadata={"help": "N of the beam searches to run, for example 4,16,64"})
    beam_width: int = field(default=4, metadata={"help": "next steps drawn from each kept path (M)"})
    beam_max_steps: int = field(default=40, metadata={"help": "a path with more steps is cut there and cannot vote"})
    beam_aggregation: Aggregation | None = field(default=None, metadata={"help": "ranks unfinished paths; null: the PRM checkpoint's own"})
    max_new_tokens: int = 256
    step_separator: str = "\n"
    grader: GraderName = "auto"

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        check_stop_strings(self.stop)
        self.params(self.temperature)  # refused here, before a model is loaded
        for temperature in self.other_temperatures:
            check_temperature(temperature, "other_temperatures")
        if self.beams and self.prm is None:
            raise ValueError(f"beams: got {list(self.beams)} without a PRM, expected prm to name one")
        object.__setattr__(self, "policy", self.policy.named_for(self.problems.source))

    def params(self, temperature: float, separator: str | None = None) -> SamplingParams:
        """Of whole solutions, or of single steps that end with `separator`."""
        return SamplingParams(self.max_new_tokens, temperature, separator, self.top_p, self.top_k, self.min_p, self.stop)


@dataclass(frozen=True)
class Cost:
    """What one method cost on one problem: tokens of the policy and of the scorer."""

    policy: Usage = Usage()
    scorer: ScorerUsage = ScorerUsage()


@dataclass(frozen=True)
class ProblemResult:
    """All candidates of one problem. `samples` by temperature (the scored ones under `temperature`), `beams` by N.

    `too_long_for` names who cannot read the question, since it fills their context: the policy, whose candidates are all empty and
    truncated, or scorers, whose scores are missing.
    """

    problem: Problem
    temperature: float
    greedy: Candidate
    samples: dict[float, tuple[Candidate, ...]]
    beams: dict[int, tuple[Candidate, ...]]
    n_difficulty_correct: int
    n_difficulty_draws: int
    costs: dict[str, Cost]
    too_long_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Searcher:
    """What a search needs besides the problem."""

    config: SearchConfig
    policy: Policy
    ledger: Ledger
    grader: Grader
    scorers: Mapping[str, Scorer]

    async def search(self, problem: Problem) -> ProblemResult:
        """What became of a problem, with all of its draws committed: those of a finished problem are never made again."""
        config, costs = self.config, dict[str, Cost]()

        async def draw(name: str, temperature: float, indices: range) -> list[Candidate]:
            policy = LedgerPolicy(self.policy, self.ledger, problem)
            candidates = await draw_candidates(policy, self.grader, config.params(temperature), indices)
            costs[name] = Cost(policy.usage)
            return candidates

        (greedy,) = await draw("greedy", 0.0, range(1))
        samples = {
            temperature: await draw(f"samples T={temperature:g}", temperature, range(config.n_samples))
            for temperature in (config.temperature, *config.other_temperatures)
        }
        held_out = range(config.n_samples, config.n_samples + config.n_difficulty_draws)
        extra = await draw("difficulty draws", config.temperature, held_out)
        scored = samples[config.temperature]
        too_long_for = ["policy"] if len(self.policy.encode_prompt(problem.question)) >= self.policy.context_length else []
        for name, scorer in self.scorers.items():
            usage = ScorerUsage()
            try:
                scored, usage = await score_candidates(problem, scored, scorer, name, config.step_separator)
            except PathTooLongError:  # the question alone: candidates that are too long are known by having no score
                too_long_for.append(name)
            costs[f"score {name}"] = Cost(scorer=usage)
        beams = {}
        for n in config.beams:
            policy = LedgerPolicy(self.policy, self.ledger, problem)  # a beam is charged for every draw it asks for, whoever made it
            beams[n], usage = ([], ScorerUsage()) if "prm" in too_long_for else await self.beam(policy, n)
            costs[f"beam {n}"] = Cost(policy.usage, usage)
        samples |= {config.temperature: scored}
        stated = [candidate for some in (*samples.values(), *beams.values()) for candidate in some]
        classes = await classify_answers(problem, stated, self.grader)
        self.ledger.commit()
        return ProblemResult(
            problem,
            config.temperature,
            greedy,
            {temperature: with_classes(candidates, classes) for temperature, candidates in samples.items()},
            {n: with_classes(candidates, classes) for n, candidates in beams.items()},
            sum(candidate.is_correct for candidate in extra),
            len(extra),
            costs,
            tuple(too_long_for),
        )

    async def beam(self, policy: LedgerPolicy, n: int) -> tuple[list[Candidate], ScorerUsage]:
        config = self.config
        params = config.params(config.temperature, config.step_separator)
        assert config.beam_aggregation is not None  # set from the checkpoint when the scorers were loaded
        beam = BeamConfig(n, config.beam_width, config.beam_max_steps, config.beam_aggregation)
        return await beam_search(policy, self.grader, self.scorers["prm"], "prm", params, beam)


def read_results(path: Path) -> list[ProblemResult]:
    """The finished problems of a search; a last line that a killed process cut short is left out."""
    adapter, results = TypeAdapter(ProblemResult), []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            results.append(adapter.validate_json(line))
        except ValidationError as error:
            raise InputError(f"{path}:{number}: not a search result: {error.errors()[0]['msg']}") from error
    return results


def load_scorers(config: SearchConfig) -> dict[str, Scorer]:
    """The PRM and the ORM that are named. Raises InputError where one is the other."""
    scorers = dict[str, Scorer]()
    for name, folder, prm_format in (("prm", config.prm, config.prm_format), ("orm", config.orm, AUTO)):
        if folder is None:
            continue
        scorers[name] = config.scorer.load(folder, config.policy, prm_format)
        if scorers[name].scores_steps != (name == "prm"):
            kinds = ("an ORM, which scores whole solutions", "a PRM, which scores steps")
            is_prm = scorers[name].scores_steps
            raise InputError(
                f"{name} {folder}: {kinds[is_prm]}; expected {kinds[not is_prm].partition(',')[0]} (--{'prm' if is_prm else 'orm'})"
            )
    return scorers


def check_results(path: Path, problems: Sequence[Problem]) -> list[ProblemResult]:
    """The finished problems. Raises InputError where one of them is not among `problems` any more: the source has changed."""
    done = read_results(path)
    wanted = {problem.problem_id: problem for problem in problems}
    for number, result in enumerate(done, 1):
        if wanted.get(result.problem.problem_id) != result.problem:
            raise InputError(
                f"{path}:{number}: the problems have changed since this search began: {result.problem.question[:60]!r} with answer "
                f"{result.problem.gold_answer[:40]!r} is not among them; put back the old source, or choose another output folder"
            )
    return done


async def search_problems(problems: list[Problem], done: list[ProblemResult], searcher: Searcher) -> None:
    """Search what results.jsonl does not hold yet."""
    path, adapter = searcher.config.output / "results.jsonl", TypeAdapter(ProblemResult)
    if path.exists():  # drops a line that was cut short
        write_text(path, "".join(adapter.dump_json(result).decode() + "\n" for result in done))
    finished = {result.problem.problem_id for result in done}
    with path.open("a") as file:

        async def one(problem: Problem) -> None:
            result = await searcher.search(problem)
            file.write(adapter.dump_json(result).decode() + "\n")
            file.flush()

        rest = [problem for problem in problems if problem.problem_id not in finished]
        await for_each(rest, one, what="search", unit="problems", at_once=64)


def summary(results: list[ProblemResult], usage: Usage, seconds: float) -> dict[str, object]:
    """Totals of a search: `usage` of the distinct draws, the scorers' tokens, and the candidates that got no verdict or no score."""
    scorer = sum((cost.scorer for result in results for cost in result.costs.values()), ScorerUsage())
    scored = [candidate for result in results for candidate in result.samples[result.temperature]]
    names = {cost.removeprefix("score ") for result in results for cost in result.costs if cost.startswith("score ")}
    return {
        "n_problems": len(results),
        "n_candidates": len(scored),
        "n_without_verdict": sum(candidate.is_unknown for candidate in scored),
        "n_without_score": sum(len(candidate.scores) < len(names) for candidate in scored),
        "too_long_for": {
            name: [result.problem.problem_id for result in results if name in result.too_long_for] for name in ("policy", "prm", "orm")
        },
        "n_generated": usage.n_generated,
        "n_prefilled": usage.n_prefilled,
        "n_cached": usage.n_cached,
        "n_scorer_new": scorer.n_new,
        "n_scorer_reused": scorer.n_reused,
        "n_scorer_rescored": scorer.n_rescored,
        "seconds": round(seconds, 1),
    }


def search_table(facts: dict[str, Any]) -> str:
    scorer = {"new": facts["n_scorer_new"], "reused": facts["n_scorer_reused"], "scored_again": facts["n_scorer_rescored"]}
    rows = {
        "problems": f"{facts['n_problems']:,}",
        "candidates": f"{facts['n_candidates']:,}",
        "of these": f"{facts['n_without_verdict']:,} without a verdict, {facts['n_without_score']:,} without a score",
        "too long": ", ".join(f"{len(ids):,} for the {name}" for name, ids in facts["too_long_for"].items() if ids),
        "policy's tokens": token_words(facts),
        "scorers' tokens": counted(scorer),
        "this time": f"{facts['seconds']:,} s",
    }
    return result_table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(SearchConfig, argv)
    results, ledger_path = config.output / "results.jsonl", config.output / "ledger.sqlite"
    check_run(config.output, config, is_begun=has_draws(ledger_path) or results.exists())
    config.policy.check()
    check_inputs(config)
    selection = select_problems(config.problems)
    grader = load_grader(config.grader, config.problems.source)
    started, cpu_started = time.perf_counter(), time.process_time()
    policy = config.policy.load()
    say_prompt(config.policy, policy.encode_prompt, selection.problems[0].question)
    scorers = load_scorers(config)
    with Ledger(ledger_path) as ledger:
        is_begun = ledger.n_draws() > 0 or results.exists()
        done = check_results(results, selection.problems)
        models = {"policy": policy.policy_id, **{name: scorer.scorer_id for name, scorer in scorers.items()}}
        claim_run(config.output, config, models, is_begun=is_begun)
        write_counts(config.output, selection)
        if config.beams and config.beam_aggregation is None:
            config = replace(config, beam_aggregation=scorers["prm"].aggregation)
        asyncio.run(search_problems(selection.problems, done, Searcher(config, policy, ledger, grader, scorers)))
        usage = ledger.total_usage()
    facts = summary(read_results(config.output / "results.jsonl"), usage, time.perf_counter() - started)
    facts["cpu_seconds"] = round(time.process_time() - cpu_started, 1)
    write_text(config.output / "search.json", json.dumps(facts) + "\n")
    logger.info("%s:\n%s", config.output / "search.json", search_table(facts))
    logger.info("results: %s; next: prm-train evaluate --validation … --test … --output …", config.output / "results.jsonl")


if __name__ == "__main__":
    run_command(main, "search")
