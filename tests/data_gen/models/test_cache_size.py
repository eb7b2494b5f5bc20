import pytest
import torch

from data_gen.models.cache_size import default_cache_bytes, free_bytes, host_free_bytes


def test_a_quarter_of_16_gib_is_93206_tokens_of_46080_bytes():
    n_bytes = default_cache_bytes(46_080, 1 / 4, 16 * 2**30)
    assert (n_bytes, n_bytes // 46_080) == (2**32, 93_206)


def test_a_tiny_model_keeps_262144_tokens_and_not_a_quarter_of_the_machine():
    assert default_cache_bytes(1024, 1 / 4, 16 * 2**30) == 2**28


# MemAvailable of 2,048 kB is 2,097,152 bytes; the group has 1,000,000 - 700,000 + 50,000 left
@pytest.mark.parametrize(
    ("limit", "n_free"), [("max", 2_097_152), ("1000000", 350_000), ("9000000", 2_097_152)]
)
def test_a_control_group_counts_where_it_has_less_left_than_the_machine(tmp_path, limit, n_free):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:        9000 kB\nMemFree:   100 kB\nMemAvailable:    2048 kB\n")
    for name, text in {
        "memory.max": limit,
        "memory.current": "700000",
        "memory.stat": "anon 5\ninactive_file 50000\nactive_file 7",
    }.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert host_free_bytes(meminfo, tmp_path) == n_free


def test_where_the_machine_says_nothing_half_of_its_memory_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert host_free_bytes(tmp_path / "none", tmp_path) == 2_048_000


def test_this_machine_has_some_memory_left():
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
