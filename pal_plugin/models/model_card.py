"""The model card (README.md) of a saved model: description, requirements, usage."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCardData

from pal_plugin.config.merging import present
from pal_plugin.integration.routing import Route, integrations_of
from pal_plugin.models.components import ModelComponents
from pal_plugin.models.stages import parameter_table

CARD = """---
{data}
---

# An LLM that hears: {name}

Trained with pal_plugin, an implementation of PAL (arXiv 2506.10423).

| audio tokens | encoders | connector | enter the LLM by | layers |
|---|---|---|---|---|
{groups}

| encoder | type | weights |
|---|---|---|
{encoders}

The LLM is {llm}. `model.safetensors` holds {components}.

```python
from pal_plugin.models.audio_llm import AudioLLM

model = AudioLLM.from_pretrained("FOLDER"){hint}
print(model.ask("clip.wav", "What do you hear?"))
```

## Figures

{figures}

## Parameters

```
{parameters}
```
"""


def text(
    section: dict, model: ModelComponents, components: set[str], metrics: dict[str, Any]
) -> str:
    """Markdown with the Hub's front matter.

    Args:
        section: the configuration that is saved with the model.
        components: components in `model.safetensors`.
        metrics: measured figures by name; if empty, the card says so.
    """
    llm = section["llm"]["path"]
    own = llm.startswith("./")
    data = ModelCardData(
        library_name="pal_plugin",
        pipeline_tag="audio-text-to-text",
        tags=["audio", "pal", *sorted(integrations_of(model.routing))],
        base_model=None if own else llm,
    )
    groups = [
        f"| {group} | {', '.join(c['encoders'])} | {c['type']} "
        f"| {_integration(way)} | {_layers(way.layers)} |"
        for group, c in present(section["connectors"]).items()
        for way in model.routing[group]
    ]
    encoders = [
        f"| {name} | {entry['type']} | {entry.get('checkpoint') or 'in this folder'} |"
        for name, entry in present(section["encoders"]).items()
    ]
    figures = ["| figure | value |", "|---|---|", *(f"| {n} | {v} |" for n, v in metrics.items())]
    return CARD.format(
        data=data.to_yaml(),
        name=section.get("model_type", "pal"),
        groups="\n".join(groups),
        encoders="\n".join(encoders),
        llm="in `llm/`" if own else f"`{llm}`, which is not in this folder",
        components=", ".join(sorted(components)) or "nothing",
        hint="" if own else '  # llm="PATH" where the LLM is elsewhere',
        figures="\n".join(figures) if metrics else "None were recorded.",
        parameters=parameter_table(model),
    )


def _integration(way: Route) -> str:
    return way.integration if way.pool == 1 else f"{way.integration}, means of {way.pool}"


def _layers(layers: tuple[int, ...] | None) -> str:
    return "default" if layers is None else ", ".join(map(str, layers))
