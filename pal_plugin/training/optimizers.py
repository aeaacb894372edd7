"""AdamW over the parameters that are trained, with rates by kind of component."""

from __future__ import annotations

from typing import Any

import torch

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: Scales of `run.lr_scale` by default, where they are not 1.
_USUAL = {"gains": 10.0}


def build(
    model: torch.nn.Module, run: Any, rate: float, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW over `model.param_groups(weight_decay)`, or over matrices and the rest apart.

    Args:
        run: the `run:` section: `weight_decay`, `beta2`, `lr_scale`.
        rate: the peak of the schedule.

    Raises:
        ConfigError: nothing is trained, or `lr_scale` names what is not.
    """
    decay = float(run.weight_decay)
    own = getattr(model, "param_groups", None)
    groups = [g for g in (own(decay) if own else _two_groups(model, decay)) if g["params"]]
    if not groups:
        raise ConfigError(
            "nothing is trainable: see model.stage (connectors: full, llm: lora, ...)"
        )
    _scale_rates(groups, dict(run.lr_scale or {}), rate)
    return torch.optim.AdamW(
        groups,
        lr=rate,
        weight_decay=decay,
        betas=(0.9, float(run.beta2)),
        fused=device.type == "cuda" or None,
    )


def rates_are_asked_for(optimizer: torch.optim.Optimizer) -> bool:
    """Whether any group is to have a rate of its own, beyond what is so by default."""
    return any(
        group.get("lr_scale", 1.0) not in (1.0, _USUAL.get(group.get("name")))
        for group in optimizer.param_groups
    )


def _scale_rates(groups: list[dict], scales: dict[str, float], rate: float) -> None:
    """Factors by a group's name; an absolute peak becomes a factor, which lasts."""
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
            f"run.lr_scale names {', '.join(idle)}, of which nothing is trained; trained are "
            f"{', '.join(sorted(names)) or 'parameters without names'}"
        )


def _two_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
