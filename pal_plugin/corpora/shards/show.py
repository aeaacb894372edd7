"""Preview of a few clips in shards: a log-mel picture, questions and answers."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchaudio

from pal_plugin.audio.io import AudioError, load_audio
from pal_plugin.corpora.shards.reading import Shards, parse, read_shard
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.pictures import new_figure

_MELS, _FRAMES, _ITEMS, _WIDTH = 64, 800, 5, 74


def sample_clips(shards: Shards, count: int, seed: int) -> list[dict[str, Any]]:
    """Draws `count` clips, from as few shards as needed, in random order."""
    urls = list(shards.urls)
    rng = random.Random(seed)
    rng.shuffle(urls)
    clips: list[dict[str, Any]] = []
    for url in urls:
        found = list(read_shard(url))
        rng.shuffle(found)
        clips += found[: count - len(clips)]
        if len(clips) == count:
            break
    if not clips:
        raise ConfigError(f"no clips in {', '.join(shards.urls[:3])}")
    return clips


def text_of(raw: dict[str, Any], read: Callable[[list], str] | None = None) -> str:
    """A sample's facts and items as lines of text; the error if it cannot be parsed.

    Args:
        read: writes the messages of a conversation as a model reads them; None: its last question.
    """
    try:
        _, facts = parse(raw)
    except ValueError as error:
        return f"{raw['__key__']}: {error}"
    known = [_known(clip) for clip in facts.get("clips", [facts])]
    lines = [f"{facts.get('id', raw['__key__'])}   {'; '.join(known)}".rstrip()]
    for item in facts["items"][:_ITEMS]:
        shown = read(item["messages"]) if read and "messages" in item else item["question"]
        lines.append(f"[{item['task']}] {shown}")
        for answer in item.get("answers", [item["answer"]])[:_ITEMS]:
            lines.append(f"    -> {answer}")
    if len(facts["items"]) > _ITEMS:
        lines.append(f"... and {len(facts['items']) - _ITEMS} more items")
    return "\n".join(lines)


def _known(clip: dict[str, Any]) -> str:
    forms = {"seconds": "{:.2f} s", "rate_hz": "{} Hz", "channels": "{} ch"}
    numbers = ((form, clip.get(name)) for name, form in forms.items())
    return ", ".join(form.format(n) for form, n in numbers if isinstance(n, int | float))


def _rows(raw: dict[str, Any]) -> list[tuple[Any, str]]:
    """`(audio or error, text)` of each clip of a sample; its text stands beside the first."""
    try:
        audio = parse(raw)[0]
    except ValueError as error:
        audio = error
    clips = list(audio) if isinstance(audio, tuple) else [audio]
    clips = clips or [ValueError("a conversation without audio")]
    return [(clip, "" if number else text_of(raw)) for number, clip in enumerate(clips)]


def draw_page(clips: list[dict[str, Any]], path: Path) -> None:
    """Renders one row per clip, log-mel picture and text, to a PNG.

    Raises:
        ConfigError: if matplotlib is not installed.
    """
    rows = [row for raw in clips for row in _rows(raw)]
    figure = new_figure(14, 2.6 * len(rows))
    for row, (audio, text) in zip(figure.subplots(len(rows), 2, squeeze=False), rows, strict=True):
        try:
            if isinstance(audio, ValueError):
                raise audio
            waveform, rate_hz = load_audio(audio)
        except (AudioError, ValueError) as error:
            row[0].text(0, 0.5, textwrap.fill(str(error), 50), va="center")
            row[0].axis("off")
        else:
            extent = (0, len(waveform) / rate_hz, 0, rate_hz / 2000)
            row[0].imshow(
                log_mel(waveform, rate_hz).numpy(), origin="lower", aspect="auto", extent=extent
            )
            row[0].set(xlabel="s", ylabel="mel bands")
            row[0].set_yticks([])
        wrapped = [
            textwrap.fill(line, _WIDTH, subsequent_indent="    ") for line in text.split("\n")
        ]
        # An unescaped dollar sign would start math mode.
        row[1].text(0, 1, "\n".join(wrapped).replace("$", r"\$"), va="top", fontsize=9)
        row[1].axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def log_mel(waveform: torch.Tensor, rate_hz: int) -> torch.Tensor:
    """Log-mel for display: waveform [S] -> [64, frames] in dB, at most about 800 frames."""
    window = 1 << max(6, round(0.032 * rate_hz).bit_length() - 1)
    n_fft = max(window, 512)
    mel = torchaudio.transforms.MelSpectrogram(
        rate_hz,
        n_fft=n_fft,
        win_length=window,
        hop_length=max(window // 4, len(waveform) // _FRAMES),
        n_mels=_MELS,
    )
    # The transform reflects n_fft / 2 samples at both ends.
    padded = torch.nn.functional.pad(waveform, (0, max(0, n_fft - len(waveform))))
    return 10 * torch.log10(mel(padded) + 1e-10)
