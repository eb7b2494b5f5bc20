"""The view of all shards, from numbers that are worked out by hand."""

from data_gen.files.progress_file import ProgressRecord
from prm_train.launching.shards import ShardSpec
from prm_train.launching.view import ShardState, total_line


def state(index: int, kind: str, n_items: int, progress: ProgressRecord | None) -> ShardState:
    spec = ShardSpec("sample", "data_gen.sample", (), "", index, 3, f"run/shard-{index}", ".", n_items)
    return ShardState(spec, kind, 1, progress=progress)


def test_rates_and_the_cost_of_the_whole_are_those_of_the_shards_that_said_something():
    counts = {"n_generated": 1000, "n_generated_now": 500}
    states = [
        state(0, "done", 10, ProgressRecord("sample", 10, 10, 0, 9.0, counts)),
        # 4 of its 6 are new: one a second
        state(1, "running", 20, ProgressRecord("sample", 6, 20, 2, 4.0, counts)),
        state(2, "waiting", 10, None),
    ]
    # 24 items are left at 1 a second; 2,000 tokens of 16 items make 5,000 of 40
    assert total_line("sample", states) == (
        "sample: 1 of 3 shards done, 16 of 40 items, 2,000 tokens, 125 tokens/s, 00:24 left; in all about "
        "5,000 tokens"
    )
    assert states[1].line() == "   shard-1  running, 6 of 20"


def test_a_shard_that_failed_is_named_with_its_fault():
    spec = ShardSpec("score", "prm_train.search.score_rows", (), "", 1, 2, "run/shard-1", ".", 7)
    failed = ShardState(spec, "failed", 3, "exit code 2: score: error: no such file")
    assert failed.line() == "   shard-1  failed, attempt 3, 0 of 7: exit code 2: score: error: no such file"
    assert total_line("score", [failed]).endswith("; failed: shard-1")
