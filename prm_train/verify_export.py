"""`prm-train verify-export`: does vLLM serve the scores that transformers computes?

    prm-train verify-export runs/math/public --rows runs/math/rows/prm.jsonl
    prm-train verify-export user/math-prm --reference runs/math/prm --dtype bfloat16

The same token ids go through both. A PRM is pooled in both ways that vLLM has, ALL (a score for every token,
of which those at the markers are taken) and STEP (those at the markers alone); an ORM is read as a server
returns it, one from pairs as its raw reward; of a language model the log-probabilities of the tokens are
compared. Which class of a PRM is the good one is read from the checkpoint's labels on vLLM's side, as a
client would, and is class 1 on ours, so labels in the wrong order are found. With --reference our side is
another checkpoint, the one before an export, say. What is compared is the network's own score, before any
calibration.

Exit code 0: the same to within the tolerance. 1: not the same, or a fault in the checkpoint. 2: it could not
be asked.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

if TYPE_CHECKING:
    from prm_train.publishing.export_report import VllmAnswer
    from prm_train.publishing.served_parity import Comparison, Subject

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class VerifyExportConfig:
    """Compare the scores of a checkpoint in transformers and in vLLM."""

    checkpoint: Path = field(
        metadata={
            "is_model": True,
            "help": "folder or Hub name of a PRM, an ORM or a causal language model; may be given as the "
            "first word, without --checkpoint",
        }
    )
    reference: Path | None = field(
        default=None,
        metadata={
            "is_model": True,
            "help": "checkpoint whose scores in transformers are the right ones; null: the same",
        },
    )
    rows: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "rows to score, as `build` writes them for this kind of model; null: solutions of the "
            "built-in task",
        },
    )
    n_rows: Annotated[int, Ge(1)] = field(
        default=16, metadata={"help": "number of rows to compare on, evenly spread over the file"}
    )
    dtype: Literal["float32", "bfloat16"] = field(
        default="float32", metadata={"help": "number format that both compute in; heads always use float32"}
    )
    tolerance: Annotated[float, Gt(0)] | None = field(
        default=None,
        metadata={
            "help": "largest difference of a score that is allowed; the mean over 16 or more may differ by a "
            "tenth of it. null: 1e-5 in float32 and 0.05 in bfloat16; for log-probs (whose mean has no "
            "bound) and rewards 1e-4 and 0.25"
        },
    )
    vllm_python: Path | None = field(
        default=None,
        metadata={
            "help": "Python interpreter that has vLLM; null: this one if it has, else that of `make vllm-cpu`"
        },
    )
    report: Path | None = field(
        default=None, metadata={"help": "JSON file for the result; null: print only the table"}
    )


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(VerifyExportConfig, _as_options(sys.argv[1:] if argv is None else argv))
    check_inputs(config)
    from transformers import __version__ as transformers_version

    from prm_train.publishing.export_report import ExportReport
    from prm_train.publishing.served_parity import (
        compare,
        config_faults,
        load_subject,
        read_paths,
        sample_paths,
    )

    served = load_subject(config.checkpoint, config.dtype)
    reference = load_subject(config.reference, config.dtype) if config.reference else served
    paths = read_paths(config.rows, reference, config.n_rows) if config.rows else sample_paths(config.n_rows)
    encoded = [reference.encode(path) for path in paths]
    faults = config_faults(served, encoded, [served.encode(path) for path in paths])
    answer = ask_vllm(config, served, [path.ids for path in encoded])
    comparisons = [
        compare(pooling, found, served, reference, encoded) for pooling, found in answer.found.items()
    ]
    tolerance = config.tolerance or served.tolerance(config.dtype)
    versions = {"transformers": transformers_version, "vllm": answer.vllm}
    is_same = not faults and all(comparison.is_within(tolerance) for comparison in comparisons)
    title = (
        f"{config.checkpoint}: {served.architecture}, {config.dtype}, transformers "
        f"{versions['transformers']}, vLLM {versions['vllm']}"
    )
    sys.stdout.write(
        "\n".join([title, *table(comparisons, tolerance), *(f"fault: {fault}" for fault in faults)]) + "\n"
    )
    if config.report:
        found = ExportReport(
            served.architecture, config.dtype, tolerance, is_same, tuple(faults), tuple(comparisons), versions
        )
        found.write(config.report)
    if not is_same:
        raise SystemExit(1)


def _as_options(argv: Sequence[str]) -> list[str]:
    """`folder --key value` as `--checkpoint folder --key value`."""
    return ["--checkpoint", *argv] if argv and not argv[0].startswith("-") else list(argv)


def table(comparisons: "Sequence[Comparison]", tolerance: float) -> list[str]:
    """One line for each way of reading scores; where they differ by too much, the places that differ most."""
    lines = [f"  {'read by':<16} {'scores':>7} {'largest difference':>19} {'mean':>9}"]
    for each in comparisons:
        if each.max_abs_difference is None or each.mean_abs_difference is None:
            lines.append(f"  {each.read_by:<16} {'none':>7}  {each.error}")
            continue
        verdict = "same" if each.is_within(tolerance) else f"NOT THE SAME: expected {each.bounds(tolerance)}"
        lines.append(
            f"  {each.read_by:<16} {each.n_scores:>7} {each.max_abs_difference:>19.1e} "
            f"{each.mean_abs_difference:>9.1e}  {verdict}"
        )
        if not each.is_within(tolerance):
            lines += [
                f"    path {place.path}, score {place.index}: transformers {place.transformers:.6f}, vLLM "
                f"{place.vllm:.6f}"
                for place in each.worst
            ]
    return lines


def ask_vllm(config: VerifyExportConfig, served: "Subject", ids: Sequence[Sequence[int]]) -> "VllmAnswer":
    """The answer of `prm_train.publishing.vllm_scoring` in its own process. Raises InputError with vLLM's
    last words if it gives none.
    """
    from prm_train.publishing.export_report import VllmAnswer
    from prm_train.publishing.vllm_scoring import Request

    python = vllm_interpreter(config.vllm_python)
    request = Request(
        checkpoint=str(served.folder.resolve()),
        kind=served.kind.serving.name,
        dtype=config.dtype,
        ids=ids,
        poolings=("ALL", "STEP"),
        step_tag_id=served.marker_id,
        max_length=min(max(map(len, ids)) + 1, served.context_length),
    )
    with tempfile.TemporaryDirectory() as folder:
        request_file, answer_file = Path(folder) / "request.json", Path(folder) / "answer.json"
        request_file.write_text(json.dumps(asdict(request)))
        script = ROOT / "prm_train" / "publishing" / "vllm_scoring.py"
        run = subprocess.run(
            [python, "-P", script, request_file, answer_file], capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            raise InputError(
                f"{config.checkpoint}: vLLM does not serve it; its last words:\n"
                + "\n".join(run.stderr.splitlines()[-15:])
            )
        return VllmAnswer.read(answer_file)


def vllm_interpreter(named: Path | None) -> Path:
    """Raises InputError if there is none."""
    python = named or (Path(sys.executable) if find_spec("vllm") else ROOT / ".venv-vllm" / "bin" / "python")
    if not python.is_file():
        raise InputError(
            f"vllm_python: no interpreter at {python}; expected one that has vLLM (`make vllm-cpu` builds an "
            "environment, else name one)"
        )
    return python


if __name__ == "__main__":
    run_command(main, "verify-export")
