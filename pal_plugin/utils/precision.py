"""`run.amp`: autocast and gradient scaling."""

from __future__ import annotations

import contextlib

import torch

from pal_plugin.utils.errors import ConfigError

_NAMES = {None: "none", False: "none", "fp32": "none", True: "bf16"}
_DTYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast on the device, with a gradient scaler for fp16 on cuda.

    Args:
        amp: a value of `run.amp`.
        device: of the model.

    Raises:
        ConfigError: an unknown value, or fp16 without cuda.
    """

    def __init__(self, amp: str | bool | None, device: torch.device) -> None:
        name = _NAMES.get(amp, amp)
        if name not in _DTYPES:
            raise ConfigError(f"run.amp is {amp!r}; expected none (fp32), bf16 or fp16")
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(
                f"run.amp=fp16 needs cuda, but run.device is {device}; use bf16 or none"
            )
        self.device_type, self.dtype = device.type, _DTYPES[name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager:
        """The autocast context of forward passes; a null context for fp32."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)
