"""One clip, many questions: a clip's representation in the LLM, computed once for any text.

Stored, for m audio tokens at b bytes per number:

    "features"   H only: m D b. Each call projects it again: 4 m D Hk d L FLOPs.
    "kv"         also the keys and values of all L layers that attend to it: 2 m L Hk d b more. Keys
                 are stored before their rotary embedding, and rotated once where the clip is used:
                 one file serves any position in any prompt.

Llama-3.2-1B (D = 2048, L = 16, Hk d = 512), m = 576 in bfloat16: 2.4 MB and 18.9 MB more.

Only LAL (and cross-attention) has this form. PLITS's prefix could be cached too, like any prompt,
but computing it costs all FFNs and the attention among audio tokens, and it depends on everything
before it. Here a PLITS group is stored as its tokens, which enter the LLM again in every call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from pal_plugin.attention.context import AudioContext
from pal_plugin.attention.layout import audio_positions
from pal_plugin.integration.routing import RoutedAudio
from pal_plugin.types import AudioTokens
from pal_plugin.utils.weights import write_tensors

STORES = ("features", "kv")
#: Version of the file format. Version 1 (not stored) had keys rotated for the start of a text.
VERSION = "2"


@dataclass(frozen=True)
class AudioKV:
    """Encoded audio; accepted wherever a model takes audio.

    Args:
        routed: the clips as routed to the LLM.
        weights: fingerprint of the weights that encoded it.
    """

    routed: RoutedAudio
    weights: str

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.routed)

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return sum(t.nbytes for t in self._tensors().values())

    def select(self, index: Tensor) -> AudioKV:
        """Clips `index` (long `[R]`)."""
        return replace(self, routed=self.routed.select(index))

    def save(self, path: str | Path) -> Path:
        """Writes `<path>.safetensors`, atomically; `load` takes the same `path`.

        Raises:
            ValueError: if prepended tokens are partly hidden.
        """
        if self.routed.prefix is not None and self.routed.prefix.hidden is not None:
            raise ValueError("cannot save prepended audio with hidden columns")
        path = _file(path)
        contexts = {"audio": self.routed.audio, "cross_audio": self.routed.cross_audio}
        contexts = {name: context for name, context in contexts.items() if context is not None}
        layers = {name: _listed(context.layers) for name, context in contexts.items()}
        spans = {
            name: [[columns, _listed(heard)] for columns, heard in context.spans]
            for name, context in contexts.items()
            if context.spans is not None
        }
        facts = {
            "version": VERSION,
            "weights": self.weights,
            "layers": json.dumps(layers),
            "spans": json.dumps(spans),
        }
        write_tensors(self._tensors(), path, facts)
        return path

    @classmethod
    def load(cls, path: str | Path, weights: str, device: str = "cpu") -> AudioKV:
        """Reads a file written by `save`.

        Args:
            weights: fingerprint of the model's weights (`AudioLLM.load_audio` passes it).

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it was encoded with other weights, or is not an AudioKV file.
        """
        path = _file(path)
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
            tensors = load_file(path, device=str(device))
        except SafetensorError as error:
            raise ValueError(f"cannot read {path} (is it complete?): {error}") from error
        if not {"weights", "layers"} <= facts.keys():
            raise ValueError(f"{path} was not written by AudioKV.save")
        if facts.get("version") != VERSION:
            raise ValueError(
                f"{path} has AudioKV format version {facts.get('version', '1')}, expected "
                f"{VERSION}: encode the audio again"
            )
        if facts["weights"] != weights:
            raise ValueError(
                f"{path} was encoded with other weights ({facts['weights'][:12]}, the model has "
                f"{weights[:12]}): encode the audio again, or load the model that encoded it"
            )
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        spans = json.loads(facts.get("spans", "{}"))
        contexts = {
            name: _context(parts[name], chosen, spans.get(name))
            for name, chosen in json.loads(facts["layers"]).items()
        }
        prefix = parts.get("prefix")
        tokens = AudioTokens(prefix["features"], prefix["mask"]) if prefix else None
        return cls(RoutedAudio(tokens, **contexts), weights)

    def _tensors(self) -> dict[str, Tensor]:
        found = {}
        for part, value in zip(("prefix", "audio", "cross_audio"), self.routed.parts, strict=True):
            if value is None:
                continue
            found |= {f"{part}.features": value.features, f"{part}.mask": value.mask}
            if isinstance(value, AudioContext):
                known = audio_positions(value.mask if value.padded else value.mask[:1])
                if not torch.equal(value.positions, known):
                    found[f"{part}.positions"] = value.positions
            if getattr(value, "gains", None) is not None:
                found[f"{part}.gains"] = value.gains
            for layer, (key, val) in (getattr(value, "clip_kv", None) or {}).items():
                found |= {f"{part}.{layer}.key": key, f"{part}.{layer}.value": val}
        return found


def _file(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix == ".safetensors":
        return path
    return path.with_name(f"{path.name}.safetensors")  # "clip_0.25" contains a dot


def _listed(layers: frozenset[int] | None) -> list[int] | None:
    return None if layers is None else sorted(layers)


def _context(
    tensors: dict[str, Tensor], layers: list[int] | None, spans: list | None
) -> AudioContext:
    kept = sorted(int(n.removesuffix(".key")) for n in tensors if n.endswith(".key"))
    kv = {i: (tensors[f"{i}.key"], tensors[f"{i}.value"]) for i in kept} or None
    if spans is not None:
        spans = tuple((columns, _chosen(heard)) for columns, heard in spans)
    return AudioContext(
        tensors["features"],
        tensors["mask"],
        _chosen(layers),
        spans=spans,
        positions=tensors.get("positions"),
        gains=tensors.get("gains"),
        clip_kv=kv,
    )


def _chosen(layers: list[int] | None) -> frozenset[int] | None:
    return None if layers is None else frozenset(layers)
