"""Q-Former: against its equations on LAVIS-named weights; runs, masks, gradients."""

import math

# isort: split
import pytest
import torch
from lavis.models.blip2_models.Qformer import BertEncoder
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig

from pal_plugin.connectors import QFormer, build_connector
from pal_plugin.types import AudioTokens

WIDTH, HIDDEN, HEADS, LAYERS, QUERIES, OUT = 12, 16, 4, 3, 5, 10


def connector(**args):
    torch.manual_seed(0)
    args = {"hidden": HIDDEN, "heads": HEADS, "layers": LAYERS, "queries": QUERIES, **args}
    qformer = QFormer(args.pop("widths", {"whisper": WIDTH}), {}, OUT, **args).eval()
    for parameter in qformer.parameters():  # or biases and norms would do nothing
        parameter.data += 0.2 * torch.randn_like(parameter)
    return qformer


def audio(*valid, count=9, width=WIDTH):
    """A row per clip with so many valid tokens; what is padded is NaN."""
    torch.manual_seed(1)
    mask = torch.arange(count) < torch.tensor(valid)[:, None]
    features = torch.randn(len(valid), count, width)
    return AudioTokens(features.masked_fill(~mask[..., None], float("nan")), mask)


def lavis_layers(frequency=2, width=WIDTH):
    """LAVIS's own layers. (The model around them cannot be built on transformers 5.)"""
    config = BertConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
    )
    config.add_cross_attention, config.cross_attention_freq = True, frequency
    config.encoder_width = width
    return BertEncoder(config).eval()


def lavis_weights(frequency=2, width=WIDTH, whole_model=True):
    """What LAVIS saves: the layers are its own class's; embeddings and head by their names."""
    torch.manual_seed(2)
    layers = lavis_layers(frequency, width)
    weights = {f"bert.encoder.{k}": v for k, v in layers.state_dict().items()}
    weights |= {f"bert.embeddings.LayerNorm.{k}": torch.empty(HIDDEN) for k in ("weight", "bias")}
    weights = {k: 0.3 * torch.randn(v.shape) for k, v in weights.items()}
    if whole_model:
        weights |= {
            "bert.embeddings.position_ids": torch.arange(7)[None],
            "bert.embeddings.word_embeddings.weight": torch.randn(9, HIDDEN),
            "bert.embeddings.position_embeddings.weight": torch.randn(7, HIDDEN),
            "cls.predictions.bias": torch.randn(9),
            "cls.predictions.transform.LayerNorm.weight": torch.randn(HIDDEN),
        }
    weights = {f"Qformer.{k}": v for k, v in weights.items()}
    weights["query_tokens"] = torch.randn(1, QUERIES, HIDDEN)
    if whole_model:
        weights |= {"ln_vision.weight": torch.randn(4), "temp": torch.ones(())}
        weights |= {"visual_encoder.cls_token": torch.randn(1, 1, 4)}
    return weights


def save(weights, path):
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in weights.items()}, path)
    else:
        torch.save({"model": weights}, path)
    return path


def norm(x, weights, name, eps):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attend(x, read, weights, name):
    """BERT's attention block of one clip: heads, output projection, residual, norm."""
    query = linear(x, weights, f"{name}.self.query")
    key = linear(read, weights, f"{name}.self.key")
    value = linear(read, weights, f"{name}.self.value")
    size, heard = HIDDEN // HEADS, []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = (query[:, own] @ key[:, own].T / math.sqrt(size)).exp()
        heard.append(scores / scores.sum(-1, keepdim=True) @ value[:, own])
    heard = linear(torch.cat(heard, -1), weights, f"{name}.output.dense")
    return norm(heard + x, weights, f"{name}.output.LayerNorm", 1e-12)


def reference(weights, frequency, read):
    """Last hidden states of the queries for the valid tokens `[N, D]` of one clip, float64."""
    w = {k.removeprefix("Qformer.bert."): v.double() for k, v in weights.items()}
    x = norm(w["query_tokens"][0], w, "embeddings.LayerNorm", 1e-12)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        x = attend(x, x, w, f"{name}.attention")
        if layer % frequency == 0:
            x = attend(x, read, w, f"{name}.crossattention")
        inner = linear(x, w, f"{name}.intermediate_query.dense")
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        inner = linear(inner, w, f"{name}.output_query.dense")
        x = norm(inner + x, w, f"{name}.output_query.LayerNorm", 1e-12)
    return x


@pytest.mark.parametrize(("frequency", "name"), [(1, "q.pth"), (2, "q.pt"), (3, "q.safetensors")])
@torch.no_grad()
def test_equals_the_equations_on_weights_of_lavis(tmp_path, frequency, name):
    weights = lavis_weights(frequency)
    path = save(weights, tmp_path / name)
    torch.manual_seed(0)
    qformer = QFormer(
        *({"whisper": WIDTH}, {}, OUT),
        queries=QUERIES,
        hidden=HIDDEN,
        heads=HEADS,
        layers=LAYERS,
        cross_attention_frequency=frequency,
        checkpoint=path,
    ).eval()
    for parameter in (*qformer.norm.parameters(), *qformer.head.parameters()):
        parameter += 0.3 * torch.randn_like(parameter)
    tokens = audio(9, 4, 1)
    output = qformer({"whisper": tokens})
    assert output.mask.all()
    own = {k: v.double() for k, v in qformer.state_dict().items()}
    for clip, valid in enumerate((9, 4, 1)):
        read = norm(tokens.features[clip, :valid].double(), own, "norm.whisper", 1e-5)
        expected = linear(reference(weights, frequency, read), own, "head")
        torch.testing.assert_close(output.features[clip].double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("count", "window", "runs"),
    [
        (1500, 17, [(17 * i, 17 * i + 17) for i in range(87)] + [(87 * 17, 1500)]),
        (12, 4, [(0, 4), (4, 8), (8, 12)]),
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (9, 4, [(0, 4), (4, 9)]),
        (3, 4, [(0, 3)]),
        (1, 4, [(0, 1)]),
    ],
)
@torch.no_grad()
def test_runs_are_read_one_by_one_in_order_of_time(count, window, runs):
    """The same weights without a window, called on each run of each clip."""
    windowed = connector(window=window, queries=2, layers=2)
    whole = connector(queries=2, layers=2)
    short = (count + 1) // 2
    tokens = audio(count, short, count=count)
    output = windowed({"whisper": tokens})
    assert output.features.shape == (2, 2 * len(runs), OUT)
    for clip, valid in enumerate((count, short)):
        heard = [(start, min(stop, valid)) for start, stop in runs if start < valid]
        expected = [
            whole({"whisper": AudioTokens(tokens.features[clip : clip + 1, start:stop],
                                          tokens.mask[clip : clip + 1, start:stop])}).features[0]
            for start, stop in heard
        ]  # fmt: skip
        assert output.mask[clip].tolist() == [i < 2 * len(heard) for i in range(2 * len(runs))]
        valid_tokens = output.features[clip, : 2 * len(heard)]
        torch.testing.assert_close(valid_tokens, torch.cat(expected), rtol=1e-5, atol=1e-5)
    assert output.features.isfinite().all()


def test_salmonns_88_tokens_of_a_window_of_whisper():
    salmonn = connector(queries=None, window=17, layers=2, cross_attention_frequency=1)
    output = salmonn({"whisper": audio(1500, 40, 1, count=1500)})
    assert output.features.shape == (3, 88, OUT)
    assert output.mask.sum(1).tolist() == [88, 3, 1]


def test_32_queries_read_several_encoders_together():
    qformer = connector(widths={"sslam": 6, "clap": 7}, queries=None)
    sslam, clap = audio(8, 3, count=8, width=6), audio(4, 2, count=4, width=7)
    output = qformer({"clap": clap, "sslam": sslam})
    assert output.features.shape == (2, 32, OUT)
    assert output.mask.all()
    cut = {
        "sslam": AudioTokens(sslam.features[1:, :3], sslam.mask[1:, :3]),
        "clap": AudioTokens(clap.features[1:, :2], clap.mask[1:, :2]),
    }
    torch.testing.assert_close(qformer(cut).features, output.features[1:], rtol=1e-5, atol=1e-5)
    sslam.features[0, 0] += 1
    assert not torch.allclose(qformer({"sslam": sslam, "clap": clap}).features, output.features)


def test_a_row_without_audio_is_masked_and_finite():
    output = connector()({"whisper": audio(9, 0)})
    assert output.mask.tolist() == [[True] * QUERIES, [False] * QUERIES]
    assert output.features.isfinite().all()


@pytest.mark.parametrize("queries", [1, 2])
def test_every_parameter_gets_a_gradient_but_for_those_softmax_ignores(queries):
    """float64, so that a gradient of zero is told from a small one."""
    widths = {"sslam": 6, "clap": 7}
    qformer = connector(widths=widths, queries=queries).double()
    tokens = {name: audio(5, 3, count=6, width=width) for name, width in widths.items()}
    tokens = {name: AudioTokens(t.features.double(), t.mask) for name, t in tokens.items()}
    qformer(tokens).features.square().sum().backward()
    without = {n for n, p in qformer.named_parameters() if not p.grad.abs().max() > 1e-12}
    expected = {n for n, _ in qformer.named_parameters() if n.endswith("attention.key.bias")}
    if queries == 1:  # one query's self-attention has nothing to choose from
        layers = [f"qformer.encoder.layer.{i}.attention.attention" for i in range(LAYERS)]
        names = ("query.weight", "query.bias", "key.weight")
        expected |= {f"{layer}.{name}" for layer in layers for name in names}
    assert without == expected


def test_bfloat16():
    tokens = audio(9, 4)
    qformer = connector(window=4)
    exact = qformer({"whisper": tokens}).features.detach()
    half = AudioTokens(tokens.features.bfloat16(), tokens.mask)
    output = qformer.bfloat16()({"whisper": half})
    assert output.features.dtype == torch.bfloat16
    assert (output.features.float() - exact).norm() < 0.03 * exact.norm()
    output.features.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in qformer.parameters())


def test_dropout_is_on_in_training_only():
    qformer, tokens = connector(dropout=0.5), {"whisper": audio(9)}
    assert torch.equal(qformer(tokens).features, qformer(tokens).features)
    qformer.train()
    assert not torch.equal(qformer(tokens).features, qformer(tokens).features)
    dropouts = {m.p for m in qformer.modules() if isinstance(m, nn.Dropout)}
    assert dropouts == {0.5}


def test_errors():
    widths = {"sslam": 6, "clap": 7}
    with pytest.raises(ValueError, match=r"needs a single encoder.*\['clap', 'sslam'\]"):
        connector(widths=widths, window=4)
    with pytest.raises(ValueError, match="sizes of at least 1, got queries=0, window=0"):
        connector(queries=0, window=0)
    with pytest.raises(ValueError, match="hidden size .* not a multiple"):
        connector(heads=5)
    with pytest.raises(ValueError, match="connector 'qformer'.*'head'"):
        build_connector("qformer", widths, {}, OUT, {"head": 4})
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        connector(checkpoint="nowhere.pth")
