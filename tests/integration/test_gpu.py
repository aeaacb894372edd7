"""Half precision and a GPU's kernels, on all families, against the equations in float32.

What runs on "cuda" is marked gpu; `benchmarks/gpu.sh` runs it and writes down the figures that are
recorded here. The same code runs on the CPU, by default for one family.

Weights and audio are rounded to the type first, so that an error is one of the arithmetic. Errors
are relative, ||got - expected|| / ||expected||, the worst of all rows or tensors.
"""

import copy
import functools
import importlib.util
import itertools
from dataclasses import replace

import pytest
import torch
from checks import Batch, generate, reference_of_generated, with_lora
from families import CASES, FAMILIES, WINDOWED, build

from benchmarks.kernels import PRODUCTS, Kernels
from benchmarks.shapes import SHAPES
from benchmarks.variants import build_llm
from pal_plugin.integration import AudioContext, attach

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Several units of the last place of each type: these models are 3 layers deep.
LIMITS = {"float32": 1e-4, "bfloat16": 0.06, "float16": 0.008}
N = 18  # more queries than those that LAL serves without a fused kernel

ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_each_device(families, kinds):
    """Every family in all kinds (backend, type), on a GPU and, most of them slow, on the CPU."""
    found = []
    for family, kind in itertools.product(families, kinds):
        slow = [pytest.mark.slow] * (family != "llama")
        found.append(pytest.param("cuda", family, *kind, marks=ON_GPU))
        found.append(pytest.param("cpu", family, *kind, marks=slow))
    return found


def rounded(llm, dtype):
    """Weights as they are in a type, and of that type; buffers (rotary frequencies) stay."""
    for parameter in llm.parameters():
        parameter.data = parameter.data.to(dtype)
    return llm


def overrides_for(family, backend):
    """Where the tiny models would not do."""
    special = CASES[family][1]
    changed = {"head_dim": 16} if backend == "flex_attention" else {}  # a GPU's least
    if "num_experts_per_tok" in special:  # all: a token near a tie would go to another one
        count = special.get("num_experts", special.get("num_local_experts"))
        changed["num_experts_per_tok"] = count
    return changed


def build_twin(family, backend, dtype, change=lambda llm: llm):
    """In float32, with the weights that it has in a type."""
    llm = change(build(family, "eager", **overrides_for(family, backend)))
    return rounded(rounded(llm, DTYPES[dtype]), torch.float32)


def build_hearing(family, backend, dtype, device, change=lambda llm: llm):
    """In a type on a device."""
    if backend == "flash_attention_2":
        if not importlib.util.find_spec("flash_attn"):
            pytest.skip("flash_attn is not installed")
        if device == "cpu" or family in WINDOWED:
            pytest.skip("FlashAttention: on a GPU only, and no windows beside LAL")
    try:
        llm = attach(build(family, backend, **overrides_for(family, backend)))
    except (TypeError, ValueError) as refused:  # by us, or by transformers
        if "attention" not in str(refused):
            raise
        pytest.skip(str(refused))
    return rounded(change(llm), DTYPES[dtype]).to(device)


@functools.cache
@torch.no_grad()
def expected_logits(family, dtype, padding):
    """The same for all backends."""
    _, exact = batch_pair(padding, dtype, "cpu")
    return exact.reference(build_twin(family, "eager", dtype))


def batch_pair(padding, dtype, device, n=N):
    """The same batch in a type on a device, and in float32 for the reference."""
    exact = Batch(padding, n)
    exact.features = exact.features.to(DTYPES[dtype]).float()
    there = copy.copy(exact)
    for name, value in vars(exact).items():
        if torch.is_tensor(value):
            kind = DTYPES[dtype] if name == "features" else value.dtype
            setattr(there, name, value.to(device, kind))
    return there, exact


def error(got, expected):
    """Infinite where anything is no number."""
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    found = (torch.linalg.vector_norm(got - expected) / torch.linalg.vector_norm(expected)).item()
    return found if found == found else float("inf")


def worst_row(logits, batch, expected):
    return max(error(logits[row, batch.valid(row)], expected[row]) for row in range(3))


HALF = ("bfloat16", "float16")
FIELDS = ("device", "family", "backend", "dtype")
FORWARD = [("sdpa", "float32"), *itertools.product(("sdpa", "eager", "flash_attention_2"), HALF)]
BACKWARD = [kind for kind in FORWARD if kind[1] != "float16"]  # which wants its loss scaled
DECODING = [kind for kind in FORWARD if kind[0] != "eager" and kind[1] != "float32"]
AUTOCAST = list(itertools.product(("sdpa",), HALF))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    ("device", "name", "n", "m"),
    [
        pytest.param("cuda", "llama3.2-1b", 128, 576, marks=ON_GPU),
        pytest.param("cuda", "llama3.2-3b", 128, 576, marks=ON_GPU),
        ("cpu", "cpu", 20, 40),
    ],
)
def test_two_layers_of_real_width(device, name, n, m, dtype, record_property):
    """Kernels choose by size; here the reference is LAL itself, eager and in float32."""
    torch.manual_seed(0)
    kind = DTYPES[dtype]
    twin = build_llm(replace(SHAPES[name], layers=2, vocab=1000), device, kind).float()
    llm = rounded(copy.deepcopy(twin), kind)
    twin.set_attn_implementation("eager")
    ids = torch.randint(1000, (2, n), device=device)
    for padded in (False, True):
        heard = torch.ones(2, m, dtype=torch.bool, device=device)
        read = torch.ones_like(ids)
        if padded:
            heard[1, m // 2 :], read[1, :3] = False, 0
        features = torch.randn(2, m, twin.config.hidden_size, device=device).to(kind)
        found = []
        for model in (attach(llm), attach(twin)):
            leaf = features.to(model.dtype, copy=True).requires_grad_()
            with Kernels() as kernels:
                audio = AudioContext(leaf, heard)
                logits = model(input_ids=ids, attention_mask=read, audio=audio).logits
            torch.manual_seed(1)
            logits = logits.float()[read.bool()]
            (logits * torch.randn(logits.shape, device=device)).sum().backward()
            found.append((logits, leaf.grad, kernels.names))
        (logits, gradient, kernels), (expected, expected_gradient, _) = found
        case = "padded" if padded else "unpadded"
        errors = error(logits, expected), error(gradient, expected_gradient)
        record_property(f"error, {case}", errors[0])
        record_property(f"error of gradient, {case}", errors[1])
        record_property(f"attention, {case}", kernels)
        assert max(errors) < LIMITS[dtype]
        if device == "cuda":
            assert kernels != PRODUCTS if padded else kernels == "flash"


@torch.no_grad()
@pytest.mark.parametrize(FIELDS, on_each_device(CASES, FORWARD))
def test_logits(device, family, backend, dtype, record_property):
    llm = build_hearing(family, backend, dtype, device)
    errors = []
    for padding in (None, "left", "right"):
        batch, _ = batch_pair(padding, dtype, device)
        text = {"input_ids": batch.ids, "attention_mask": batch.mask}
        with Kernels() as kernels:
            logits = llm(**text, audio=batch.audio()).logits
        assert logits.dtype == DTYPES[dtype]
        errors.append(worst_row(logits, batch, expected_logits(family, dtype, padding)))
        record_property(f"error, {padding or 'unpadded'}", errors[-1])
        record_property(f"attention, {padding or 'unpadded'}", kernels.names)
        if (device, backend, padding) == ("cuda", "sdpa", None) and dtype != "float32":
            assert kernels.names == "flash" or family in WINDOWED
    assert max(errors) < LIMITS[dtype]


@pytest.mark.parametrize(FIELDS, on_each_device(FAMILIES, BACKWARD))
def test_gradients(device, family, backend, dtype, record_property):
    llm = build_hearing(family, backend, dtype, device, with_lora)
    twin = build_twin(family, backend, dtype, with_lora)
    check_gradients(llm, twin, dtype, device, record_property)


def check_gradients(llm, twin, dtype, device, record_property, paddings=(None, "left")):
    """Of audio, weights and LoRA, all in one and each tensor: small ones have larger errors."""
    for padding in paddings:
        batch, exact = batch_pair(padding, dtype, device)
        leaves = []
        for model, b in ((llm, batch), (twin, exact)):
            model.requires_grad_(True)
            b.features.requires_grad_()
            leaves.append([b.features, *model.parameters()])
        loss = batch.loss(llm(**batch.text, audio=batch.audio()).logits)
        got = torch.autograd.grad(loss, leaves[0])
        expected = torch.autograd.grad(exact.loss_of_reference(twin), leaves[1])
        names = ["features", *dict(llm.named_parameters())]
        errors = {n: error(a, b) for n, a, b in zip(names, got, expected, strict=True)}
        worst = max(errors, key=errors.get)
        whole = error(*(torch.cat([t.float().flatten().cpu() for t in g]) for g in (got, expected)))
        record_property(f"error, {padding or 'unpadded'}", whole)
        record_property(f"worst, {padding or 'unpadded'}", f"{errors[worst]:.2g} of {worst}")
        assert whole < 2 * LIMITS[dtype]
        assert errors[worst] < 4 * LIMITS[dtype]


@torch.no_grad()
@pytest.mark.parametrize(FIELDS, on_each_device(CASES, DECODING))
def test_greedy_generation(device, family, backend, dtype, record_property):
    """Each token is the likeliest but for rounding, and its logits are right."""
    llm = build_hearing(family, backend, dtype, device)
    twin = build_twin(family, backend, dtype)
    errors = []
    for n in (7, N):
        batch, exact = batch_pair("left", dtype, device, n)
        out = generate(llm, batch, do_sample=False, output_logits=True)
        logits = torch.stack(out.logits, dim=1).float().cpu()
        rows = reference_of_generated(twin, exact, out.sequences.cpu())
        for row, (new, expected) in enumerate(rows):
            errors.append(error(logits[row], expected))
            chosen = expected.gather(1, new[:, None])[:, 0]
            missed = (expected.max(-1).values - chosen).max() / expected.abs().max()
            assert missed < LIMITS[dtype]
    record_property("error", max(errors))
    assert max(errors) < LIMITS[dtype]


@pytest.mark.parametrize(FIELDS, on_each_device(FAMILIES, AUTOCAST))
def test_autocast(device, family, backend, dtype, record_property):
    """Weights in float32, as small LLMs are trained: queries and values may differ in type."""
    llm = build_hearing(family, backend, "float32", device)
    errors = []
    for padding in (None, "left", "right"):
        batch, _ = batch_pair(padding, "float32", device)
        batch.features.requires_grad_()
        with torch.autocast(device, DTYPES[dtype]):
            logits = llm(**batch.text, audio=batch.audio()).logits
        batch.loss(logits.float()).backward()
        assert batch.features.grad[batch.audio_mask].isfinite().all()
        errors.append(worst_row(logits, batch, expected_logits(family, "float32", padding)))
        record_property(f"error, {padding or 'unpadded'}", errors[-1])
    assert max(errors) < LIMITS[dtype]


@pytest.mark.parametrize(
    ("device", "family"),
    [
        # With soft-capping, and with attention sinks, which flex counts on a GPU only.
        *(pytest.param("cuda", f, marks=ON_GPU) for f in ("llama", "qwen3", "gemma2", "gpt_oss")),
        pytest.param("cpu", "llama", marks=pytest.mark.slow),  # compiles for long
    ],
)
def test_flex(device, family, record_property):
    """bfloat16, forward and, where torch has it, backward."""
    llm = build_hearing(family, "flex_attention", "bfloat16", device)
    twin = build_twin(family, "flex_attention", "bfloat16")
    for padding in (None, "left"):
        batch, exact = batch_pair(padding, "bfloat16", device)
        with torch.no_grad():
            logits = llm(**batch.text, audio=batch.audio()).logits
            found = worst_row(logits, batch, exact.reference(twin))
        record_property(f"error, {padding or 'unpadded'}", found)
        assert found < LIMITS["bfloat16"]
    if device != "cpu":
        check_gradients(llm, twin, "bfloat16", device, record_property, ("right",))
