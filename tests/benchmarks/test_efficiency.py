"""The counts against formulas and known cases, and the command line from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks import counting, efficiency, report, timing
from benchmarks.shapes import SHAPES, Shape
from benchmarks.variants import LABELS, Batch, build_llm, build_variants, speech_tokens

TINY = Shape("llama", 4, 32, 4, 2, 48, 50, train_batch=2, inference_batch=2)
N, M = 6, 20


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    return TINY


def setting(names, device="meta", tuning="full", dtype=torch.float32):
    """Variants and a batch for a training step."""
    torch.manual_seed(0)
    llm = build_llm(TINY, device, dtype, tuning)
    weight = llm.get_input_embeddings().weight
    return build_variants(names, llm, TINY, M), Batch.random(TINY, 2, N, M, weight, grad=True)


def forward_flops(in_sequence, heard, logits):
    """mechanism.md's formula for one row.

    Args:
        in_sequence: tokens that pass through the layers.
        heard: audio tokens that are keys and values only.
        logits: positions that logits are made for.
    """
    s, d = TINY, TINY.head_dim
    p_qo, p_kv, p_ff = 2 * s.width * s.heads * d, 2 * s.width * s.key_heads * d, 3 * s.width * s.ffn
    pairs = in_sequence * (in_sequence + 1) // 2 + in_sequence * heard
    per_layer = 2 * in_sequence * (p_qo + p_kv + p_ff) + 2 * heard * p_kv + 4 * s.heads * d * pairs
    return s.layers * per_layer + 2 * logits * s.width * s.vocab


def about(flops):
    """Equal, but for the rotary table, which was a matrix product in older transformers."""
    return pytest.approx(flops, rel=5e-4)


S = speech_tokens(M)
FORWARD = {
    "text-only": (N, 0),
    "plits": (N + M, 0),
    "lal-kept": (N, M),
    "qwen2audio": (N + M, 0),
}


@pytest.mark.parametrize("name", FORWARD)
def test_step_flops_are_three_times_the_forward_formula(name):
    """All is trained, so that each product has two in the backward pass.

    Qwen2Audio makes logits for every position.
    """
    variants, batch = setting([name])
    logits = N + M if name == "qwen2audio" else N
    expected = 2 * 3 * forward_flops(*FORWARD[name], logits)
    assert counting.count_step(TINY, variants[name], batch).flops == about(expected)


@pytest.mark.parametrize(("name", "in_sequence", "heard"), [("lal", N, M), ("pal", N + S, M - S)])
def test_lal_repeats_no_more_than_the_projections_of_the_audio(name, in_sequence, heard):
    variants, batch = setting([name])
    least = 2 * 3 * forward_flops(in_sequence, heard, N)
    projections = 2 * TINY.layers * 2 * heard * 2 * TINY.width * TINY.key_heads * TINY.head_dim
    assert least <= counting.count_step(TINY, variants[name], batch).flops <= least + projections


@pytest.mark.parametrize("name", FORWARD)
def test_prefill_and_token_flops_equal_the_formula(name):
    variants, batch = setting([name])
    in_sequence, heard = FORWARD[name]
    logits = N + M if name == "qwen2audio" else 1
    prefill = counting.count_prefill(TINY, variants[name], batch).flops
    assert prefill == about(2 * forward_flops(in_sequence, heard, logits))
    one_more = forward_flops(in_sequence + 1, heard, 1) - forward_flops(in_sequence, heard, 0)
    assert counting.count_token(TINY, variants[name], batch).flops == about(2 * one_more)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("name", ["plits", "lal", "flamingo"])
def test_meta_tensors_count_what_real_ones_do(name, tuning):
    on_meta, on_cpu = (
        counting.count_step(TINY, variants[name], batch)
        for variants, batch in (setting([name], device, tuning) for device in ("meta", "cpu"))
    )
    assert on_meta.flops == on_cpu.flops
    assert on_meta.saved_bytes == pytest.approx(on_cpu.saved_bytes, rel=0.01)
    assert on_meta.held_bytes == pytest.approx(on_cpu.held_bytes, rel=0.01)


def test_qwen2audio_counted_on_ready_embeddings_lacks_its_tiny_encoder_only():
    (meta, batch), (real, real_batch) = (
        setting(["qwen2audio"], device) for device in ("meta", "cpu")
    )
    counted = counting.count_step(TINY, meta["qwen2audio"], batch).flops
    assert (
        counted
        < counting.count_step(TINY, real["qwen2audio"], real_batch).flops
        < (1.2 * counted)  # the width of the encoder, 8, is a quarter of this LLM's
    )


def test_held_bytes_count_what_is_alive_and_new():
    x, held = torch.randn(4, 5), counting.HeldBytes()
    with held:
        y = x.sin().cos()  # the sine is gone
        view = y.T
    assert held.total == 4 * 4 * 5
    del y
    assert held.total == 4 * 4 * 5
    del view
    assert held.total == 0


def test_variants_share_their_parameters_and_leave_the_floor_as_it_is():
    variants, _ = setting(list(LABELS), device="cpu")
    floor = dict(variants["text-only"].llm.named_parameters())
    for variant in variants.values():
        own = dict(variant.llm.named_parameters())
        assert own.keys() == floor.keys()
        assert all(own[name] is floor[name] for name in own)
    assert variants["text-only"].llm.config._attn_implementation == "sdpa"
    assert "generate" not in vars(variants["text-only"].llm)


@pytest.mark.parametrize("name", [name for name in LABELS if name != "text-only"])
def test_audio_is_heard(name):
    variants, batch = setting([name], device="cpu")
    variant = variants[name]
    for block in (variant.blocks or {}).values():  # fresh gates let nothing through
        torch.nn.init.ones_(block.gate_attention)
    variant.loss(batch).backward()
    learning = batch.features
    if name == "qwen2audio":  # hears its own encoder
        learning = next(p for n, p in variant.model.named_parameters() if "projector" in n)
    assert learning.grad.abs().sum() > 0


def test_plits_runs_without_a_mask_and_without_logits_for_audio(monkeypatch):
    calls, attention = [], F.scaled_dot_product_attention

    def spy(query, key, value, attn_mask=None, is_causal=False, **kwargs):
        calls.append((attn_mask, is_causal, query.shape[2]))
        return attention(query, key, value, attn_mask=attn_mask, is_causal=is_causal, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    variants, batch = setting(["plits"], device="cpu")
    llm, made = variants["plits"].llm, []
    llm.get_output_embeddings().register_forward_hook(lambda *args: made.append(args[2].shape))
    variants["plits"].loss(batch)
    assert calls == [(None, True, M + N)] * TINY.layers
    assert made == [(2, N, TINY.vocab)]


def test_every_variant_generates_as_many_tokens_as_asked_for():
    variants, batch = setting(list(LABELS), device="cpu")
    for name, variant in variants.items():
        generated = variant.generate(batch, 3)
        prompt = N + M if name == "qwen2audio" else 0  # its prompt is ids, which come back
        assert generated.shape == (2, prompt + 3)


def test_rounds_are_interleaved_and_begin_with_another_variant():
    order, found = [], {name: timing.Measured() for name in "abc"}
    timing.in_turns(found, lambda name: {"train": 1.0}, 3, order.append)
    assert "".join(order) == "abcbcacab"
    assert all(measured.seconds == {"train": [1.0] * 3} for measured in found.values())


def test_a_variant_without_enough_memory_is_left_out_and_told():
    def seconds(name):
        if name == "b":
            raise torch.OutOfMemoryError
        return {"train": 1.0}

    found = {name: timing.Measured() for name in "ab"}
    timing.in_turns(found, seconds, 2, lambda name: None)
    assert found["b"] == timing.Measured(status=timing.OUT_OF_MEMORY)
    assert found["a"].seconds == {"train": [1.0, 1.0]}


def test_ratios_are_made_within_rounds_and_stand_beside_their_ceiling():
    counts = {
        "text-only": counting.Count(100, 10, 10),
        "plits": counting.Count(600, 50, 50),
        "lal": counting.Count(150, 11, 12),
    }
    times = {"text-only": [1.0, 2.0, 4.0], "plits": [4.0, 8.0, 24.0], "lal": [2.0, 4.0, 8.0]}
    measured = {name: timing.Measured({"train": values}) for name, values in times.items()}
    cell = {"phase": "train", "tuning": "full", "m": M, "n": N, "batch": 2}
    *_, row = report.cell_rows(cell, counts, measured, absolute=True)
    assert row["flop_ceiling_over_plits"] == 4
    assert row["time_over_text"] == {"median": 2, "q1": 2, "q3": 2}
    assert row["speed_over_plits"] == {"median": 2, "q1": 2, "q3": 2.5}
    assert row["share_of_ceiling"] == 0.5
    assert (row["saved_over_text"], row["held_over_plits"]) == (1.1, 0.24)
    assert row["per_second"] == 0.5


@pytest.mark.slow
def test_command_line_from_end_to_end(tiny, tmp_path, capsys):
    words = "--shape tiny --m 20 --n 6 --tuning full --device cpu --repeats 2 --new-tokens 2"
    written = efficiency.main([*words.split(), "--quiet", "--out", str(tmp_path)])
    assert [path.suffix for path in written] == [".json", ".md", ".png", ".png"]
    assert all(path.stat().st_size for path in written)
    document = json.loads(written[0].read_text("utf-8"))
    assert document["schema"] == report.SCHEMA
    assert {"date", "device", "versions", "shape", "conventions"} <= document.keys()
    assert words in document["command"]
    assert document["settings"]["plits_tokens_of_pal"] == {"20": 5}
    rows = document["rows"]
    assert len(rows) == len(LABELS) + 2 * (len(LABELS) - 1)
    for row in rows:
        assert row["status"] == "ok"
        assert row["flops"] > 0
        assert "seconds" not in row  # a CPU tells ratios only
        assert row["speed_over_plits"]["q1"] <= row["speed_over_plits"]["q3"]
        assert row["gpu_peak_bytes"] is None
        assert (row["saved_bytes"] is None) == (row["phase"] != "train")
    table = written[1].read_text("utf-8")
    assert table in capsys.readouterr().out
    assert "of ceiling" in table
    assert "GPU peak" not in table


@pytest.mark.slow
def test_flops_only_counts_and_times_nothing(tiny, tmp_path):
    argv = ["--flops-only", "--shape", "tiny", "--m", "8", "--n", "6", "--measure", "train"]
    argv += ["--variants", "lal", "--quiet", "--out", str(tmp_path)]
    document = json.loads(efficiency.main(argv)[0].read_text("utf-8"))
    assert [row["variant"] for row in document["rows"]] == 2 * ["text-only", "plits", "lal"]
    assert {row["status"] for row in document["rows"]} == {"counted"}
    assert {row["time_over_text"] for row in document["rows"]} == {None}


@pytest.mark.slow
def test_profile_lists_operations(tiny, tmp_path):
    argv = ["--profile", "lal", "--shape", "tiny", "--m", "8", "--n", "6", "--device", "cpu"]
    (path,) = efficiency.main([*argv, "--out", str(tmp_path)])
    assert "aten::mm" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shape", "llama-1b"], "did you mean 'llama3.2-1b'"),
        (["--m", "2"], "expected a number from 4 on, got '2'"),
        (["--n", "many"], "expected a number from 2 on, got 'many'"),
    ],
)
def test_mistakes_are_explained(argv, message, capsys):
    with pytest.raises(SystemExit):
        efficiency.main(argv)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_teaches_and_never_imports_lavis():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "benchmarks.efficiency", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python -m benchmarks.efficiency --flops-only" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pal_plugin.integration.lal" in imported
    assert not [name for name in imported if name.split(".")[0] == "lavis"]
