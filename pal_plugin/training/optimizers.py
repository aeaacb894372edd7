"""AdamW over the trainable parameters, with a learning rate per component."""

from __future__ import annotations

from typing import Any

import torch

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: Defaults of `run.lr_scale` other than 1.
_USUAL = {"gains": 10.0}


def build(
    model: torch.nn.Module, run: Any, rate: float, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW over `model.param_groups(weight_decay)`, or over two groups: matrices, and the rest
    without weight decay.

    Args:
        run: the `run:` section: `weight_decay`, `beta2`, `lr_scale`.
        rate: peak learning rate.
        device: of the parameters; on cuda the fused kernel is used.

    Raises:
        ConfigError: nothing is trainable, or `lr_scale` names a component that is frozen.
    """
    decay = float(run.weight_decay)
    own = getattr(model, "param_groups", None)
    groups = [g for g in (own(decay) if own else _two_groups(model, decay)) if g["params"]]
    if not groups:
        raise ConfigError(
            "no parameter is trainable: set model.stage (connectors: full, llm: lora, ...)"
        )
    _scale_rates(groups, dict(run.lr_scale or {}), rate)
    return torch.optim.AdamW(
        groups,
        lr=rate,
        weight_decay=decay,
        betas=(0.9, float(run.beta2)),
        fused=device.type == "cuda" or None,
    )


def has_group_rates(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a parameter group has a learning rate scale other than the default."""
    return any(
        group.get("lr_scale", 1.0) not in (1.0, _USUAL.get(group.get("name")))
        for group in optimizer.param_groups
    )


def _scale_rates(groups: list[dict], scales: dict[str, float], rate: float) -> None:
    """Set `lr_scale` of each group by its name; an absolute peak `lr` becomes a factor too."""
    names = {group["name"] for group in groups if "name" in group}
    for group in groups:
        if "lr" in group:
            group["lr_scale"] = group["lr"] / rate
        elif "name" in group:
            if group["name"] not in scales:
                hint = did_you_mean(group["name"], list(scales))
                raise ConfigError(f"run.lr_scale has no {group['name']!r}. {hint}")
            group["lr_scale"] = float(scales[group["name"]])
    idle = [n for n, scale in scales.items() if scale not in (1, _USUAL.get(n)) and n not in names]
    if idle:
        raise ConfigError(
            f"run.lr_scale sets {', '.join(idle)}, but nothing of that is trainable; trainable: "
            f"{', '.join(sorted(names)) or 'parameter groups without names'}"
        )


def _two_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
