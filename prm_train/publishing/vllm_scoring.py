"""What vLLM makes of token ids: the half of `prm-train verify-export` that runs where vLLM is installed.

    python -P vllm_scoring.py request.json answer.json

Loads nothing of this project, so that the environment with vLLM need not hold it. The request says what to
load and the ids of each path; the answer holds, for each way of pooling, what vLLM returned for each path:
rows of class probabilities (a PRM), one number (an ORM), or the log-probability of each token after the first
(a language model).
"""

import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One process, no compilation: an engine that scores a few paths is up in seconds. On a CPU the size of the
# cache must be said.
SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Request:
    """`step_tag_id` is the token whose positions STEP pooling returns; `max_length` holds the longest path
    and one token more.
    """

    checkpoint: str
    kind: str  # prm, orm or causal_lm
    dtype: str
    ids: Sequence[Sequence[int]]
    poolings: Sequence[str]  # of a PRM: ALL, STEP
    step_tag_id: int | None
    max_length: int


def answer(request: Request) -> dict[str, Any]:
    """{"vllm": version, "found": {pooling: one entry a path}}. One engine for each way of pooling."""
    import vllm

    found: dict[str, Any]
    if request.kind == "prm":
        found = {pooling: class_probabilities(request, pooling) for pooling in request.poolings}
    elif request.kind == "orm":
        found = {"LAST": outcome_scores(request)}
    else:
        found = {"PROMPT_LOGPROBS": token_logprobs(request)}
    return {"vllm": vllm.__version__, "found": found}


def engine(request: Request, **settings: Any) -> Any:
    from vllm import LLM

    return LLM(
        request.checkpoint,
        dtype=request.dtype,
        max_model_len=request.max_length,
        enforce_eager=True,
        disable_log_stats=True,
        **settings,
    )


def prompts(request: Request) -> list[Any]:
    return [{"prompt_token_ids": list(ids)} for ids in request.ids]


def class_probabilities(request: Request, pooling: str) -> list[list[list[float]]]:
    """A row of probabilities for every token (ALL) or every step tag (STEP); no row at all, and no error,
    where there is no tag.
    """
    from vllm.config import PoolerConfig

    pooler = PoolerConfig(
        task="token_classify",
        tok_pooling_type=pooling,
        step_tag_id=request.step_tag_id if pooling == "STEP" else None,
    )
    llm = engine(request, runner="pooling", pooler_config=pooler)
    found = [
        output.outputs.data.tolist()
        for output in llm.encode(prompts(request), pooling_task="token_classify", use_tqdm=False)
    ]
    del llm
    gc.collect()
    return found


def outcome_scores(request: Request) -> list[float]:
    """What a server returns by itself: the activation that the checkpoint's problem_type names has been
    applied.
    """
    from vllm.config import PoolerConfig

    llm = engine(request, runner="pooling", pooler_config=PoolerConfig(task="classify"))
    return [
        output.outputs.data.flatten()[0].item()
        for output in llm.encode(prompts(request), pooling_task="classify", use_tqdm=False)
    ]


def token_logprobs(request: Request) -> list[list[float]]:
    from vllm import SamplingParams

    llm = engine(request)
    outputs = llm.generate(
        prompts(request), SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0), use_tqdm=False
    )
    return [
        [chances[token].logprob for token, chances in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
        for ids, output in zip(request.ids, outputs, strict=True)
    ]


def main(argv: Sequence[str]) -> None:
    request_file, answer_file = map(Path, argv)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    answer_file.write_text(json.dumps(answer(Request(**json.loads(request_file.read_text())))))


if __name__ == "__main__":
    main(sys.argv[1:])
