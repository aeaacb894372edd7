"""Reads Whisper's encoder or decoder from a CTranslate2 file, the format of faster-whisper.

Design choice: parsed here, since the library runs models but does not expose tensors. The file is a
list of named arrays, so nothing is executed; all sizes are checked against the file size.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from pal_plugin.utils.weights import check_is_no_stand_in

FILE, SPEC, VERSION, REVISION = "model.bin", "WhisperSpec", 6, 3
ENCODER, DECODER = "encoder", "decoder"
#: Data types by their code in the file.
DTYPES = (
    *(torch.float32, torch.int8, torch.int16, torch.int32, torch.float16),
    torch.bfloat16,
)
#: Variables that are settings, not weights; of these, `num_heads` and `pre_norm` are used.
_SETTINGS = (
    *("activation", "alibi", "num_heads", "pre_norm", "scale_embeddings"),
    *("alignment_heads", "alignment_layer", "start_from_zero_embedding"),
)
_NAMES = {
    "conv1/": "conv1.",
    "conv2/": "conv2.",
    "layer_norm/": "layer_norm.",
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/": "embed_tokens.",
    "self_attention/layer_norm/": "self_attn_layer_norm.",
    "self_attention/linear_1/": "self_attn.out_proj.",
    "attention/layer_norm/": "encoder_attn_layer_norm.",
    "attention/linear_0/": "encoder_attn.q_proj.",
    "attention/linear_2/": "encoder_attn.out_proj.",
    "ffn/layer_norm/": "final_layer_norm.",
    "ffn/linear_0/": "fc1.",
    "ffn/linear_1/": "fc2.",
}
#: Fused projections, stacked by rows: the attention module and its projections.
_STACKED = {
    "self_attention/linear_0/": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "attention/linear_1/": ("encoder_attn", ("k_proj", "v_proj")),
}
_PARAMETERS = {"gamma": "weight", "beta": "bias"}
_SCALE = "_scale"


@dataclass(frozen=True)
class Variable:
    """An array in the file; `start` is its byte offset."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int

    @property
    def size(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_ctranslate2(path: str | Path) -> bool:
    """Whether `path` is a folder with a CTranslate2 model and no other weights."""
    path = Path(path)
    stock = any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin"))
    return (path / FILE).is_file() and not stock


def whisper_sizes(folder: Path) -> dict[str, int]:
    """Sizes by names of `transformers.WhisperConfig`, from the file's table; reads no weights.

    Raises:
        ValueError: if the file is damaged, or has another model, version or dtype.
    """
    path = Path(folder) / FILE
    table = read_table(path)

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = table.get(f"encoder/{name}")
        if found is None or len(found.shape) != rank:
            raise ValueError(
                f"{path}: expected encoder/{name} with {rank} dimensions, as in a Whisper"
            )
        return found.shape

    width, mels, _ = shape("conv1/weight", 3)
    shape("num_heads", 0)
    layers = {match[1] for name in table if (match := re.match(r"encoder/layer_(\d+)/", name))}
    with open(path, "rb") as file:
        heads = int(_tensor(file, table["encoder/num_heads"]))
    if heads < 1 or width % heads:
        raise ValueError(f"{path}: width {width} is not divisible by {heads} heads")
    return {
        "d_model": width,
        "encoder_layers": len(layers),
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": shape("layer_0/ffn/linear_0/weight", 2)[0],
        "num_mel_bins": mels,
        "max_source_positions": shape("position_encodings/encodings", 2)[0],
    }


def decoder_heads(folder: Path) -> int:
    """Number of attention heads of the decoder. Raises ValueError as `whisper_sizes`."""
    path = Path(folder) / FILE
    variable = read_table(path).get(f"{DECODER}/num_heads")
    if variable is None or variable.shape:
        raise ValueError(f"{path}: expected {DECODER}/num_heads with 0 dimensions, as in a Whisper")
    with open(path, "rb") as file:
        return int(_tensor(file, variable))


def whisper_weights(folder: Path, part: str = ENCODER) -> dict[str, Tensor]:
    """The encoder's or decoder's weights [...], with key names as in `transformers.WhisperModel`.

    Floats keep their dtype; quantized integers are dequantized to float32. Unknown names are kept,
    so that loading reports them.

    Args:
        part: `ENCODER` or `DECODER`.

    Raises:
        ValueError: as `whisper_sizes`, or if a layer does not match Whisper.
    """
    path = Path(folder) / FILE
    table = read_table(path)
    weights: dict[str, Tensor] = {}
    with open(path, "rb") as file:
        for name, variable in table.items():
            place = name.removeprefix(f"{part}/")
            if place == name or place.endswith(_SCALE) or place in _SETTINGS:
                continue
            value = _tensor(file, variable)
            if not value.is_floating_point():
                if name + _SCALE not in table:
                    raise ValueError(f"{path}: {name} is {value.dtype} without {name}{_SCALE}")
                value = _scaled(value, _tensor(file, table[name + _SCALE]), f"{path}: {name}")
            weights |= _renamed(part, place, value, path)
        norm = table.get(f"{part}/pre_norm")
        if norm is not None and not _tensor(file, norm):
            raise ValueError(f"{path} has post-norm layers; expected pre-norm, as in a Whisper")
    return weights


def read_table(path: Path) -> dict[str, Variable]:
    """The variables in the file, by name.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: see `whisper_sizes`.
    """
    check_is_no_stand_in(path)
    size = path.stat().st_size
    with open(path, "rb") as file:

        def take(count: int) -> bytes:
            data = file.read(count)
            if len(data) < count:
                raise ValueError(f"{path} is truncated at {size} bytes; download it again")
            return data

        def number(form: str) -> int:
            return struct.unpack(f"<{form}", take(struct.calcsize(f"<{form}")))[0]

        def text() -> str:
            raw = take(number("H"))
            if not raw.endswith(b"\0") or not raw.isascii():
                raise ValueError(f"{path} is damaged: no name at byte {file.tell() - len(raw)}")
            return raw[:-1].decode()

        if (version := number("I")) != VERSION:
            raise ValueError(
                f"{path}: expected CTranslate2 format version {VERSION}, the only supported one, "
                f"got {version}"
            )
        if (spec := text()) != SPEC:
            raise ValueError(f"{path}: expected a {SPEC} model, got {spec!r}")
        if (revision := number("I")) != REVISION:
            raise ValueError(f"{path}: expected revision {REVISION} of {SPEC}, got {revision}")
        table: dict[str, Variable] = {}
        for _ in range(number("I")):
            name, rank = text(), number("B")
            shape, kind, length = tuple(number("I") for _ in range(rank)), number("B"), number("I")
            if kind >= len(DTYPES):
                known = ", ".join(f"{i} {dtype}" for i, dtype in enumerate(DTYPES))
                raise ValueError(f"{path}: {name} has the unknown dtype {kind}; known: {known}")
            variable = Variable(shape, DTYPES[kind], file.tell())
            if name in table or variable.size != length:
                raise ValueError(
                    f"{path} is damaged: {name} is repeated, or its {length} bytes do not match "
                    f"{variable.dtype} {list(shape)}"
                )
            if variable.start + length > size:
                raise ValueError(
                    f"{path} is truncated: {size} bytes, {name} ends at {variable.start + length}; "
                    "download it again"
                )
            table[name] = variable
            file.seek(length, 1)
        for _ in range(2 * number("I")):  # aliases of variables; the encoder has none
            text()
        if file.tell() != size:
            raise ValueError(f"{path} is damaged: {size - file.tell()} bytes of trailing data")
    return table


def _tensor(file: BinaryIO, variable: Variable) -> Tensor:
    file.seek(variable.start)
    data = bytearray(file.read(variable.size))
    return torch.frombuffer(data, dtype=variable.dtype).reshape(variable.shape)


def _scaled(value: Tensor, scale: Tensor, where: str) -> Tensor:
    """Dequantizes integers by a scale per row, or a single scale."""
    if scale.numel() not in (1, len(value)):
        raise ValueError(
            f"{where} {list(value.shape)} has {scale.numel()} scales; expected 1 or rows"
        )
    return value.float() / scale.float().reshape(-1, *(1,) * (value.dim() - 1))


def _renamed(part: str, place: str, value: Tensor, path: Path) -> dict[str, Tensor]:
    """Renames a variable; `place` is its name without the `part/` prefix."""
    layer = re.match(r"layer_(\d+)/", place)
    inner = place[layer.end() :] if layer else place
    front = f"{part}.layers.{layer[1]}." if layer else f"{part}."
    for theirs, (attention, projections) in _STACKED.items():
        if inner.startswith(theirs):
            kind = inner.removeprefix(theirs)
            if len(value) % len(projections):
                raise ValueError(
                    f"{path}: {part}/{place} has {len(value)} rows, expected a multiple of "
                    f"{len(projections)}"
                )
            rows = dict(zip(projections, value.chunk(len(projections)), strict=True))
            if kind == "bias" and rows.pop("k_proj").any():
                raise ValueError(f"{path}: {part}/{place} has a key bias; Whisper has none")
            return {f"{front}{attention}.{name}.{kind}": row for name, row in rows.items()}
    for theirs, ours in _NAMES.items():
        if inner.startswith(theirs):
            kind = inner.removeprefix(theirs)
            return {front + ours + _PARAMETERS.get(kind, kind): value}
    return {front + inner: value}
