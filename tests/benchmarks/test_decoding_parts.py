import json

import pytest
import torch

from benchmarks.decoding_parts import int8_product, main

TOY = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "vocab_size": 300,
}


def test_every_part_of_a_step_is_timed_at_toy_size(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TOY))
    main(["--model", str(tmp_path), "--rows", "16", "--output", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["shape"] == TOY
    assert len(result["milliseconds_a_step"]) == 7
    assert set(result["tokens_per_cpu_second_at_most"]) == {"as stored", "laid out anew", "int8"}


def test_the_product_in_8_bits_is_the_product_of_rounded_rows():
    # Rows are rounded to 127ths of their own greatest number: 1.5 is 95.25 of those of 2, which goes to 95
    rows = torch.tensor([[2.0, 1.5], [0.0, -4.0]])
    weight, scale = torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), torch.tensor([0.5, 1.0])
    first, second = int8_product(rows, weight, scale).tolist()
    assert first == pytest.approx([(127 * 1 + 95 * 2) * 2 / 127 * 0.5, (127 * 3 + 95 * 4) * 2 / 127])
    assert second == pytest.approx([-2 * 4 * 0.5, -4 * 4])
