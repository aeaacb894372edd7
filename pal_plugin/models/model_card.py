"""The model card (README.md) of a saved model: what it is, what it needs, how it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pal_plugin.models.stages import parameter_table

if TYPE_CHECKING:
    from pal_plugin.models.audio_llm import AudioLLM


def text(section: dict, model: AudioLLM, components: set[str], metrics: dict[str, Any]) -> str:
    """Markdown with the hub's front matter.

    Args:
        section: the configuration that is written beside it.
        components: what `model.safetensors` holds.
        metrics: measured figures by name; without any the card says so.
    """
    llm = section["llm"]["path"]
    own = llm.startswith("./")
    groups = [
        f"| {group} | {', '.join(c['encoders'])} | {c['type']} "
        f"| {model.routing[group].integration} | {_layers(model.routing[group].layers)} |"
        for group, c in section["connectors"].items()
        if c
    ]
    encoders = [
        f"| {name} | {entry['type']} | {entry.get('checkpoint') or 'in this folder'} |"
        for name, entry in section["encoders"].items()
        if entry
    ]
    figures = [f"| {name} | {value} |" for name, value in metrics.items()]
    lines = [
        "---",
        "library_name: pal_plugin",
        "pipeline_tag: audio-text-to-text",
        "tags: [audio, pal, "
        + ", ".join(sorted({r.integration for r in model.routing.values()}))
        + "]",
        *([] if own else [f"base_model: {llm}"]),
        "---",
        "",
        f"# An LLM that hears: {section.get('model_type', 'pal')}",
        "",
        "Trained with pal_plugin, an implementation of PAL (arXiv 2506.10423).",
        "",
        "| audio tokens | encoders | connector | enter the LLM by | layers |",
        "|---|---|---|---|---|",
        *groups,
        "",
        "| encoder | type | weights |",
        "|---|---|---|",
        *encoders,
        "",
        f"The LLM is {'in `llm/`' if own else f'`{llm}`, which is not in this folder'}. "
        f"`model.safetensors` holds {', '.join(sorted(components)) or 'nothing'}.",
        "",
        "```python",
        "from pal_plugin.models.audio_llm import AudioLLM",
        "",
        'model = AudioLLM.from_pretrained("FOLDER")'
        + ("" if own else '  # llm="PATH" where the LLM is elsewhere'),
        'print(model.ask("clip.wav", "What do you hear?"))',
        "```",
        "",
        "## Figures",
        "",
        *(["| figure | value |", "|---|---|", *figures] if figures else ["None were recorded."]),
        "",
        "## Parameters",
        "",
        "```",
        parameter_table(model),
        "```",
        "",
    ]
    return "\n".join(lines)


def _layers(layers: tuple[int, ...] | None) -> str:
    return "default" if layers is None else ", ".join(map(str, layers))
