"""The explicit reference against stock transformers, without anything of LAL's implementation."""

import pytest
import torch
from families import CASES, VOCAB, WIDTH, WINDOWED, build
from reference import lal_logits

M, N = 5, 9
FAR = 100  # a window that hides nothing


def a_sample(seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCAB, (N,), generator=generator)
    return ids, torch.randn(M, WIDTH, generator=generator)


def close(a, b):
    difference, scale = (a - b).abs().max().item(), b.abs().max().item()
    assert difference <= 1e-5 * scale, f"{difference:.2e} of {scale:.3g}"


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_without_audio_it_is_the_stock_model(name):
    llm = build(name)
    ids, audio = a_sample()
    close(lal_logits(llm, ids, audio[:0]), llm(input_ids=ids[None]).logits[0])


@torch.no_grad()
@pytest.mark.parametrize("name", WINDOWED)
def test_the_windows_are_active(name):
    ids, audio = a_sample()
    near, far = (lal_logits(build(name, window=w), ids, audio) for w in (3, FAR))
    close(near[:3], far[:3])
    assert (near[3:] - far[3:]).abs().max() > 1e-2 * far.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_it_is_stock_plits_with_the_audio_reset_before_every_layer(name):
    llm = build(name, window=FAR)  # PLITS's windows would lose the audio
    ids, audio = a_sample()

    def reset(_layer, args):
        return (torch.cat([audio[None], args[0][:, M:]], 1), *args[1:])

    for layer in llm.model.layers:
        layer.register_forward_pre_hook(reset)
    # Gemma 2 may scale these embeddings here or inside of the model; the hook makes up for H.
    embeds = torch.cat([audio, llm.model.embed_tokens(ids)])[None]
    stock = llm(inputs_embeds=embeds).logits[0, M:]
    close(lal_logits(llm, ids, audio), stock)
    assert (stock - lal_logits(llm, ids, audio[:0])).abs().max() > 1e-2 * stock.abs().max()
