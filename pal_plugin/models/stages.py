"""A stage of the training curriculum: what is frozen, trained by LoRA, or trained in full.

Stage 1 trains the connectors, stages 2 and 3 also the LLM by LoRA (PAL paper, "Training"); a run
file only lists differences.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from pal_plugin.llm.lora import LORA_TARGETS, add_lora
from pal_plugin.utils.tables import text_table

PARTS = ("frozen", "full")
LLM_MODES = ("frozen", "lora", "full")


@dataclass(frozen=True)
class Stage:
    """What is trained.

    Args:
        encoders: "frozen" or "full".
        connectors: "frozen" or "full".
        llm: "frozen", "lora" or "full". LoRA adapters exist if and only if this is "lora".
        lora_targets: "attention" or "attention_ffn".
        lora_rank: rank of the adapters.
        lora_alpha: LoRA alpha; the scale is alpha / rank.
        aligns: a group whose connector alone is trained by alignment, without running the LLM's
            layers (`models.alignment`); None: train on answers.

    Raises:
        ValueError: if a value is invalid.
    """

    encoders: str = "frozen"
    connectors: str = "full"
    llm: str = "frozen"
    lora_targets: str = "attention"
    lora_rank: int = 8
    lora_alpha: int = 16
    aligns: str | None = None

    def __post_init__(self) -> None:
        for part, value, known in (
            ("encoders", self.encoders, PARTS),
            ("connectors", self.connectors, PARTS),
            ("llm", self.llm, LLM_MODES),
            ("lora_targets", self.lora_targets, tuple(LORA_TARGETS)),
        ):
            if value not in known:
                raise ValueError(f"stage.{part} is {value!r}; expected one of {', '.join(known)}")
        if self.aligns is not None and (self.encoders, self.llm) != ("frozen", "frozen"):
            raise ValueError(
                "stage.aligns trains a single connector: set stage.encoders and stage.llm to frozen"
            )

    def apply(
        self,
        encoders: nn.Module,
        connectors: nn.ModuleDict,
        llm: nn.Module,
        with_connectors: Iterable[nn.Module] = (),
    ) -> None:
        """Adds LoRA adapters if configured and sets `requires_grad` of all parameters.

        Args:
            with_connectors: further new modules that are trained with the connectors:
                cross-attention (Flamingo) and gains (LAL).
        """
        if self.llm == "lora":
            add_lora(llm, self.lora_targets, self.lora_rank, self.lora_alpha)
        encoders.requires_grad_(self.encoders == "full")
        trains = self.connectors == "full"
        for part in (connectors, *with_connectors):
            part.requires_grad_(trains and self.aligns is None)
        if self.aligns is not None:
            if self.aligns not in connectors:
                groups = ", ".join(connectors)
                raise ValueError(f"stage.aligns is {self.aligns!r}; the groups are {groups}")
            connectors[self.aligns].requires_grad_(trains)
        for name, parameter in llm.named_parameters():
            parameter.requires_grad_(self.llm == "full" or "lora_" in name)


def component_of(name: str) -> str:
    """The component of a parameter: `encoders.sslam`, `llm`, `llm.lora`, ..."""
    if name.startswith("llm."):
        return "llm.lora" if ".lora_" in name else "llm"
    if name.startswith("cross_attention."):
        return "cross_attention"
    return ".".join(name.split(".")[:2])


#: Kinds of components that can have their own learning rate (`run.lr_scale`).
KINDS = ("connectors", "cross_attention", "gains", "lora", "llm", "encoders")


def kind_of(name: str) -> str:
    """The kind of component of a parameter."""
    component = component_of(name)
    return "lora" if component == "llm.lora" else component.split(".")[0]


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """`{component: (trainable, frozen)}` parameter counts, in model order."""
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        trainable, frozen = counts.get(component_of(name), (0, 0))
        size, trains = parameter.numel(), parameter.requires_grad
        counts[component_of(name)] = (trainable + size * trains, frozen + size * (not trains))
    return counts


def parameter_table(model: nn.Module) -> str:
    """Trainable and frozen parameters by component, as a text table."""
    counts = parameter_counts(model)
    counts["total"] = tuple(sum(column) for column in zip(*counts.values(), strict=True))
    rows = [(name, f"{trainable:,}", f"{frozen:,}") for name, (trainable, frozen) in counts.items()]
    return text_table([("component", "trainable", "frozen"), *rows], "lr", rule=False)
