"""Gradio behind a FastAPI app, and what of it is switched off."""

from __future__ import annotations

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio import processing_utils

from pal_plugin.clips import FOLDER
from pal_plugin.hosts.page.compared import Compared
from pal_plugin.hosts.page.layout import page
from pal_plugin.serving.engine import Engine

STYLE = Path(__file__).with_name("style.css")
#: What screen readers read when it changes; and one name for all radio buttons, to each of which
#: Gradio gives its own: with it they are one stop of the Tab key, and arrows move between them.
ACCESS = """() => {
  for (const id of ["drawn", "said", "bars", "weights", "columns"])
    document.getElementById(id)?.setAttribute("aria-live", "polite");
  const clips = document.getElementById("shipped");
  const join = () => {
    for (const input of clips.querySelectorAll("input"))
      if (input.name !== "shipped") input.name = "shipped";
  };
  join();
  new MutationObserver(join).observe(clips, {subtree: true, attributeFilter: ["name"]});
}"""
_GREEN, _DARKER = "#2f7d5b", "#256549"


def mounted(app: FastAPI, engine: Engine, name: str, compared: Compared | None = None) -> FastAPI:
    """See `pal_plugin.hosts.page.mount`.

    Args:
        compared: models to put side by side; None: those of the package.
    """
    processing_utils.ssrf_protected_download = _no_address
    processing_utils.async_ssrf_protected_download = _no_address
    blocks = page(engine, name, compared or Compared())
    blocks.has_launched = True  # else Gradio opens any path that a request names as its file
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=[str(FOLDER)],
        css=STYLE.read_text("utf-8"),
        theme=_theme(),
        js=ACCESS,
        footer_links=[],
        run_history=False,
        max_file_size="32mb",
        pwa=False,
        mcp_server=False,
        ssr_mode=False,
        enable_monitoring=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )


def _theme() -> gr.themes.Base:
    """Gradio's default in system fonts, with one colour."""
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    return gr.themes.Default(primary_hue="emerald", neutral_hue="gray", **fonts).set(
        button_primary_background_fill=_GREEN,
        button_primary_background_fill_dark=_GREEN,
        button_primary_background_fill_hover=_DARKER,
        button_primary_background_fill_hover_dark=_DARKER,
        button_primary_text_color="white",
        body_text_color_subdued="#5b616b",
        body_text_color_subdued_dark="#a9afb8",
        block_label_text_color="#3b4048",
        block_title_text_color="#3b4048",
    )


def _no_address(url: str, cache_dir: str) -> Any:
    """In place of Gradio's download of an address that a request names as its file."""
    raise gr.Error("The page opens no addresses: upload the file.")
