"""Whether LAL is right for an LLM, found out on the LLM itself: no reference of ours is needed.

A layer of the stock model reads `[H; h]`, where H is audio, whatever earlier layers made of those
rows. That is LAL by definition, at PLITS's price (PAL paper, section "LAL"). The same layer of the
attached model reads h and attends to H. Attention and layer must make the same of h in both.

Each layer is compared by itself and in float32, one after the other in a copy: in half precision,
or behind what earlier layers add up to, a layer that ignores audio would pass as rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from unittest import mock

import torch
from torch import Tensor, nn

from pal_plugin.attention.attached import attached
from pal_plugin.attention.context import AudioContext
from pal_plugin.llm import families
from pal_plugin.llm.head import logits_of

_AUDIO, _TEXT, _ROWS = 5, 6, 2
#: Largest deviation, relative to what a module computes. Rounding lies at 1e-6, the wrong entries
#: that were tried at 1e-2 and above.
_TOLERANCE = 1e-4
#: Of quantized layers, which compute in half precision, and of embeddings and logits of such LLMs.
_TOLERANCE_HALF = 5e-2


@torch.no_grad()
def check(model: nn.Module) -> float:
    """Compare an attached causal LM with its stock self; it is left as it was.

    Returns:
        the largest deviation of a layer.

    Raises:
        TypeError: a layer, the scale of the embeddings or the logits differ; with the deviation.
    """
    error = check_layers(model.get_decoder())
    with _in_eval_mode(model):
        _check_scale_and_head(model)
    return error


@torch.no_grad()
def check_layers(decoder: nn.Module) -> float:
    """Compare the layers of an attached decoder, as `check`."""
    name = f"{decoder.config.model_type!r}"
    if any(p.is_meta for p in decoder.parameters()):
        raise TypeError(
            f"whether LAL is right for {name} cannot be checked while weights are on the meta "
            "device: attach it where they are loaded (before they are offloaded)"
        )
    m, n = _lengths(decoder)
    weight = next(decoder.layers.parameters())
    generator = torch.Generator().manual_seed(0)
    width = decoder.config.hidden_size
    both = torch.randn(_ROWS, m + n, width, generator=generator).to(weight.device)
    audio, text = both[:, :m], both[:, m:]
    mask = torch.ones(_ROWS, m, dtype=torch.bool, device=weight.device)
    try:
        with _in_eval_mode(decoder):
            stock = _outputs(decoder, both, m)
            ours = _outputs(decoder, text, 0, audio=AudioContext(audio, mask))
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise TypeError(
            f"LAL does not fit {name}: on embeddings alone, or with audio, it raised {reason}"
        ) from error
    tolerance = _TOLERANCE_HALF if _is_quantized(decoder) else _TOLERANCE
    errors = [
        max(_deviation(got, expected) for got, expected in zip(*pair, strict=True))
        for pair in zip(ours, stock, strict=True)
    ]
    wrong = [index for index, error in enumerate(errors) if not error <= tolerance]
    if wrong:
        worst = max(wrong, key=errors.__getitem__)
        raise TypeError(
            f"LAL would be silently wrong for {name}: {len(wrong)} of {len(errors)} layers differ "
            f"from the stock model whose audio rows are reset before every layer (layer {worst} by "
            f"{errors[worst]:.1%}). Its layers compute keys or values in a way that families.py "
            "does not describe, or do not pass keyword arguments on to attention"
        )
    return max(errors)


def _lengths(decoder: nn.Module) -> tuple[int, int]:
    """Audio and text tokens; no window may hide any of them from the stock model."""
    window = getattr(decoder.config, "sliding_window", None)
    if not window or window >= _AUDIO + _TEXT:
        return _AUDIO, _TEXT
    if window < 2:
        raise TypeError(f"LAL cannot be checked beside a sliding window of {window} tokens")
    return window // 2, window - window // 2


def _outputs(decoder: nn.Module, rows: Tensor, m: int, **kwargs) -> list[tuple[Tensor, Tensor]]:
    """What each layer, given `rows` in float32, makes of those behind the first `m`: what its
    attention adds, and what the layer adds, `[R, n, D]` each."""
    found: list[tuple[Tensor, Tensor]] = []

    def of(layer: nn.Module):
        def forward(*args, **given):
            twin = layer if _is_float32(layer) else copy.deepcopy(layer).float()
            attended: list[Tensor] = []
            hook = twin.self_attn.register_forward_hook(
                lambda module, args, output: attended.append(_first(output))
            )
            if args:
                args = (rows, *args[1:])
            else:
                given["hidden_states"] = rows
            audio = given.get("audio")
            if audio is not None and audio.cache.normed is not None:  # made in the LLM's own type
                adapter = attached(decoder, "audio").adapters[0][1]
                given["audio"] = audio.in_pass(families.normalise(adapter, audio.features))
            try:
                output = type(layer).forward(twin, *args, **given)
            finally:
                hook.remove()
            found.append((attended[0][:, m:], (_first(output) - rows)[:, m:]))
            if layer is decoder.layers[-1]:
                raise _Enough
            return output

        return forward

    with ExitStack() as stack:
        for layer in decoder.layers:
            stack.enter_context(mock.patch.object(layer, "forward", of(layer)))
        with suppress(_Enough):
            decoder(inputs_embeds=rows, use_cache=False, **kwargs)
    return found


class _Enough(Exception):
    """The last layer has run; what follows may not take float32."""


def _deviation(got: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp(min=torch.finfo(torch.float).tiny)
    return float((got.float() - expected.float()).abs().max() / largest)


def _check_scale_and_head(model: nn.Module) -> None:
    name = f"{families.text_config(model).model_type!r}"
    embedding = model.get_input_embeddings()
    ids = torch.arange(min(_TEXT, embedding.num_embeddings), device=embedding.weight.device)[None]
    embeds, decoder = embedding(ids), model.get_decoder()
    tolerance = _TOLERANCE if embeds.dtype == torch.float32 else _TOLERANCE_HALF
    first: list[Tensor] = []
    hook = decoder.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: first.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    try:
        hidden = decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    finally:
        hook.remove()
    if _deviation(first[0], embeds.float() * families.embedding_scale(model)) > tolerance:
        raise TypeError(
            f"{name} changes its embeddings before the first layer in a way that "
            "families.embedding_scale does not know: prepended audio (PLITS) would be of another "
            "scale than the text"
        )
    logits = model(inputs_embeds=embeds, use_cache=False).logits
    if _deviation(logits_of(model, hidden), logits.float()) > tolerance:
        raise TypeError(f"{name} changes its logits in a way that llm.head.logits_of does not know")


def _is_float32(layer: nn.Module) -> bool:
    return all(p.dtype == torch.float32 for p in layer.parameters())


def _is_quantized(decoder: nn.Module) -> bool:
    return any(not p.is_floating_point() for p in decoder.layers.parameters())


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _first(output) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
