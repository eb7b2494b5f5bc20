"""Searches on a card with the real model as policy and a PRM with a random head on the same network,
bfloat16: beam search against `benchmarks.textbook` (one problem at a time, `generate`, whole texts through
the PRM) on the same rule, and a particle filter without a peer.

Trees of a random head are as large as others; who is right is not asked. Seconds of wall clock for each drawn
step, since the sides search different numbers of problems; and the share of the policy's tokens.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.gpu.correctness import keep
from benchmarks.gpu.engine import questions, seconds_of
from benchmarks.gpu.setting import Setting
from benchmarks.searching import Ours, random_prm
from benchmarks.textbook import WIDTH, Beam, Textbook, Work
from data_gen.records.solutions import Problem

MAX_BATCH_TOKENS = 32_768


def problems_of(setting: Setting, n: int) -> list[Problem]:
    return [Problem(f"q{i}", question, "0") for i, question in enumerate(questions(setting, n))]


def figures(work: Work, seconds: float, n_problems: int) -> dict[str, Any]:
    return {
        "n_problems": n_problems,
        "seconds": round(seconds, 2),
        "n_steps": work.n_steps,
        "steps_per_second": round(work.n_steps / seconds, 1),
        "policy_tokens_per_second": round(work.n_generated / seconds),
        "prm_tokens_per_step": round(work.n_prm / work.n_steps, 1),
    }


def textbook_work(loop: Textbook, problems: Sequence[Problem], n: int) -> Work:
    for problem in problems:
        loop.search(problem.question, n)
    return loop.work


def measure(setting: Setting) -> dict[str, Any]:
    models = (str(setting.model), random_prm(str(setting.model), setting.folder / "prm"))
    dtype = "bfloat16" if setting.is_cuda else "float32"
    n, n_few, n_many = (4, 1, 2) if setting.is_small else (8, 1, 64)
    few, many = problems_of(setting, n_few), problems_of(setting, n_many)
    where: dict[str, Any] = {"device": setting.device, "dtype": dtype, "max_batch_tokens": MAX_BATCH_TOKENS}
    found: dict[str, Any] = {"n": n}

    def keep_one(name: str, problems: Sequence[Problem], work: Any) -> None:
        done, seconds = seconds_of(work, setting.is_cuda)
        found[name] = figures(done, seconds, len(problems))
        print(f"  {name}: {found[name]}", flush=True)
        keep(setting.folder, found)

    loop = Textbook(*models, **where)
    loop.scored("", loop.next_steps(loop.encode_prompt(""), [Beam()]))  # warms up
    loop.work = Work()
    keep_one("textbook_beam", few, partial(textbook_work, loop, few, n))
    beam = f"beam:width={WIDTH}"
    ours = Ours(*models, **where, max_rows=max(n * n_many, 16))
    ours.search(few, beam, 4, True)
    keep_one("beam_one_in_flight", few, partial(ours.search, few, beam, n, False))
    keep_one("beam_all_in_flight", many, partial(ours.search, many, beam, n, True))
    keep_one("particles_all_in_flight", many, partial(ours.search, many, "particle_filter", n, True))
    base = found["textbook_beam"]["steps_per_second"]
    for name in ("beam_one_in_flight", "beam_all_in_flight"):
        found[f"ratio_{name}"] = round(found[name]["steps_per_second"] / base, 2)
    return found
