"""Whether LAL is right for an LLM, found out on the LLM itself: no reference of ours is needed.

The stock model reads `[H; h]`, and before every decoder layer the rows of the audio are set back to
H. That is LAL by definition, at PLITS's price (PAL paper, section "LAL"). Then the attached model
reads h and hears H. Each of its layers is given the text that the stock layer was given, so that
deviations do not add up over the layers, and a layer that differs is known by its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pal_plugin.integration import families
from pal_plugin.integration.context import AudioContext
from pal_plugin.llm.head import logits_of

_AUDIO, _TEXT, _ROWS = 5, 6, 2
#: Largest deviation, relative to what a layer adds to its input. The wrong entries that were tried
#: lie at 0.1 and above; rounding of right ones in float32 at 1e-5.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_TOLERANCE_HALF = 5e-2


@torch.no_grad()
def check(model: nn.Module) -> float:
    """Compare an attached causal LM with its stock self; it is left as it was.

    Returns:
        the largest deviation of a layer.

    Raises:
        TypeError: a layer, the scale of the embeddings or the logits differ; says by how much.
    """
    decoder = model.get_decoder()
    weight = model.get_input_embeddings().weight
    if weight.is_meta:
        return 0.0  # a plan: there is nothing to compute with
    name = f"{families.text_config(model).model_type!r}"
    m, n = _lengths(decoder)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, weight.shape[0], (_ROWS, n), generator=generator).to(weight.device)
    with _in_eval_mode(model):
        embeds = model.get_input_embeddings()(ids)
        audio = torch.randn(_ROWS, m, embeds.shape[-1], generator=generator).to(embeds)
        audio = audio * embeds.float().std().to(embeds.dtype)
        try:
            stock = _stock_layers(decoder, audio, embeds)
        except Exception as error:
            raise TypeError(
                f"whether LAL is right for {name} cannot be checked: the stock model on embeddings "
                f"raised {_told(error)}"
            ) from error
        try:
            ours = _lal_layers(decoder, audio, embeds, [before for before, _ in stock])
        except Exception as error:
            raise TypeError(
                f"LAL does not fit {name}: with audio it raised {_told(error)}"
            ) from error
        errors = [
            _deviation(got, expected, before)
            for got, (before, expected) in zip(ours, stock, strict=True)
        ]
        tolerance = _TOLERANCE.get(embeds.dtype, _TOLERANCE_HALF)
        wrong = [index for index, error in enumerate(errors) if not error <= tolerance]
        if wrong:
            worst = max(wrong, key=errors.__getitem__)
            raise TypeError(
                f"LAL would be silently wrong for {name}: {len(wrong)} of {len(errors)} layers "
                f"differ from the stock model whose audio rows are reset before every layer (layer "
                f"{worst} by {errors[worst]:.0%}). Its layers compute keys or values in a way that "
                "families.py does not describe, or do not pass keyword arguments on to attention"
            )
        _check_scale(model, name, embeds, stock[0][0], tolerance)
        _check_head(model, name, embeds, tolerance)
    return max(errors)


def _lengths(decoder: nn.Module) -> tuple[int, int]:
    """Audio and text tokens; no window may hide any of them from the stock model."""
    window = getattr(decoder.config, "sliding_window", None)
    if not window or window >= _AUDIO + _TEXT:
        return _AUDIO, _TEXT
    if window < 2:
        raise TypeError(f"LAL cannot be checked beside a sliding window of {window} tokens")
    return window // 2, window - window // 2


def _stock_layers(decoder: nn.Module, audio: Tensor, embeds: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What each layer makes of the text: `(input, output)`, `[R, n, D]` each."""
    m, inputs, outputs = audio.shape[1], [], []

    def reset(hidden):
        inputs.append(hidden[:, m:])
        return torch.cat([audio, hidden[:, m:]], 1)

    def keep(hidden):
        outputs.append(hidden[:, m:])

    both = torch.cat([audio, embeds], 1)
    with _hooked(decoder, reset, keep):
        decoder(inputs_embeds=both, use_cache=False)
    return list(zip(inputs, outputs, strict=True))


def _lal_layers(
    decoder: nn.Module, audio: Tensor, embeds: Tensor, inputs: list[Tensor]
) -> list[Tensor]:
    """The outputs of each layer that is given `inputs` and hears."""
    given, outputs = iter(inputs), []
    mask = torch.ones(audio.shape[:2], dtype=torch.bool, device=audio.device)
    context = AudioContext(audio, mask)
    with _hooked(decoder, lambda _: next(given), outputs.append):
        decoder(inputs_embeds=embeds, use_cache=False, audio=context)
    return outputs


def _deviation(got: Tensor, expected: Tensor, before: Tensor) -> float:
    """Relative to what the layer adds to its input, beyond the rounding of that sum."""
    rounding = 2 * torch.finfo(expected.dtype).eps * expected.abs().max().float()
    difference = (got.float() - expected.float()).abs().max() - rounding
    added = (expected.float() - before.float()).abs().max()
    return float(difference.clamp(min=0) / added.clamp(min=torch.finfo(torch.float).tiny))


def _check_scale(
    model: nn.Module, name: str, embeds: Tensor, first: Tensor, tolerance: float
) -> None:
    expected = embeds.float() * families.embedding_scale(model)
    if not _close(first.float(), expected, tolerance):
        raise TypeError(
            f"{name} changes its embeddings before the first layer in a way that "
            "families.embedding_scale does not know: prepended audio (PLITS) would be of another "
            "scale than the text"
        )


def _check_head(model: nn.Module, name: str, embeds: Tensor, tolerance: float) -> None:
    hidden = model.get_decoder()(inputs_embeds=embeds, use_cache=False).last_hidden_state
    expected = model(inputs_embeds=embeds, use_cache=False).logits.float()
    if not _close(logits_of(model, hidden), expected, tolerance):
        raise TypeError(f"{name} changes its logits in a way that llm.head.logits_of does not know")


def _close(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())


@contextmanager
def _hooked(
    decoder: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], None]
) -> Iterator[None]:
    """Each layer reads what `before` makes of its hidden states; `after` is shown its output."""

    def replace(_, args, kwargs):
        if args:
            return (before(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": before(kwargs["hidden_states"])}

    def show(_, args, output):
        after(output if isinstance(output, Tensor) else output[0])

    hooks = []
    for layer in decoder.layers:
        hooks.append(layer.register_forward_pre_hook(replace, with_kwargs=True))
        hooks.append(layer.register_forward_hook(show))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
