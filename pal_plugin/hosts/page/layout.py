"""What is where on the page, and what happens when it is used.

State is kept by browser tab (`gr.State`), so that users do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from pal_plugin.hosts.page.asking import answers, sentences
from pal_plugin.hosts.page.attention import attended
from pal_plugin.hosts.page.clips import PageClip, read_clip, shipped_clips
from pal_plugin.hosts.page.compared import Compared
from pal_plugin.hosts.page.pictures import picture
from pal_plugin.hosts.page.ranking import ranked
from pal_plugin.hosts.page.talk import Talk, labels_of
from pal_plugin.hosts.page.transcript import transcript
from pal_plugin.serving.engine import Engine

#: Seconds after which the clips and the conversation of a tab that was left are forgotten.
FORGET_S = 3600
_ASK_FIRST = "Ask a question first."


def problem(sentence: str) -> str:
    """A sentence that screen readers speak at once; nothing for none."""
    return f'<p class="pal-problem" role="alert">{escape(sentence)}</p>' if sentence else ""


def page(engine: Engine, name: str, compared: Compared) -> gr.Blocks:
    """The page of one model; `name` is its name."""
    handle = _Handlers(engine, compared)
    with gr.Blocks(
        title="pal_plugin: ask about a sound",
        analytics_enabled=False,
        delete_cache=(FORGET_S, FORGET_S),
        fill_width=True,
    ) as blocks:
        small = {"size": "md", "min_width": 80}
        clip = gr.State(None, time_to_live=FORGET_S)
        talk = gr.State(Talk(), time_to_live=FORGET_S)
        gr.HTML(
            f'<header class="pal-head"><h1>Ask about a sound</h1><p>Model: {escape(name)}</p>'
            "</header>"
        )
        with gr.Row(elem_classes="pal-page"):
            with gr.Column(scale=2, min_width=300):
                audio = gr.Audio(
                    label="Clip: upload or record",
                    sources=["upload", "microphone"],
                    type="filepath",
                    elem_id="clip",
                    buttons=[],
                    waveform_options=gr.WaveformOptions(show_recording_waveform=False),
                )
                shipped = gr.Radio(
                    shipped_clips(), value=None, label="Or a clip of the package", elem_id="shipped"
                )
                drawn = gr.HTML(elem_id="drawn")
            with gr.Column(scale=3, min_width=300):
                said = gr.HTML(transcript(Talk()), elem_id="said")
                question = gr.Textbox(
                    "What do you hear?", label="Question", elem_id="question", max_lines=4
                )
                with gr.Row(elem_classes="pal-buttons"):
                    ask = gr.Button(
                        "Ask", variant="primary", elem_id="ask", size="md", min_width=80
                    )
                    stop = gr.Button("Stop", elem_id="stop", **small)
                    new = gr.Button(
                        "New conversation", elem_id="new", **{**small, "min_width": 150}
                    )
                with gr.Tabs():
                    with gr.Tab("Ranking"):
                        labels = gr.Textbox(
                            "dog, rooster, crying baby, rain",
                            label="Labels, with commas in between",
                            elem_id="labels",
                        )
                        rank = gr.Button("Rank the labels", elem_id="rank", size="md")
                        bars = gr.HTML(elem_id="bars")
                    with gr.Tab("Attention"):
                        weigh = gr.Button("Show the attention weights", elem_id="weigh", size="md")
                        weights = gr.HTML(elem_id="weights")
                    with gr.Tab("Compare"):
                        gr.HTML(f'<p class="pal-note">{escape(compared.note)}</p>')
                        compare = gr.Button("Ask PLITS, LAL and PAL", elem_id="compare", size="md")
                        columns = gr.HTML(elem_id="columns")

        shown = {"show_progress": "minimal", "concurrency_limit": None, "api_visibility": "private"}
        latest = {**shown, "trigger_mode": "always_last"}
        audio.change(handle.read, audio, [clip, drawn], **latest)
        shipped.input(handle.choose, shipped, audio, **latest)
        own = [audio.upload, audio.stop_recording, audio.clear]
        gr.on(own, handle.chosen_none, None, shipped, **shown)
        asking = [
            trigger(
                handle.ask,
                [question, clip, talk],
                [talk, said],
                **{**shown, "show_progress": "hidden"},
            )
            for trigger in (ask.click, question.submit)
        ]
        stop.click(handle.stopped, talk, said, cancels=asking, **shown)
        new.click(
            handle.forget, None, [talk, said, bars, weights, columns], cancels=asking, **shown
        )
        rank.click(handle.rank, [labels, question, clip, talk], bars, **shown)
        weigh.click(handle.weigh, talk, weights, **shown)
        compare.click(handle.compare, [question, clip, talk], columns, **shown)
    blocks.queue(default_concurrency_limit=None, api_open=False)
    return blocks


class _Handlers:
    """What happens on each click; errors become sentences in the page."""

    def __init__(self, engine: Engine, compared: Compared) -> None:
        self.engine, self.compared = engine, compared

    def choose(self, path: str | None) -> str | None:
        return path

    def chosen_none(self) -> None:
        return None

    def read(self, path: str | None) -> tuple[PageClip | None, str]:
        if path is None:
            return None, ""
        with sentences() as said:
            clip = read_clip(path)
            return clip, picture(clip)
        return None, problem(said[0])

    def ask(self, question: str, clip: PageClip | None, talk: Talk) -> Iterator[tuple[Any, ...]]:
        with sentences() as said:
            talk = talk.asking(question, clip)
            yield talk, transcript(talk, waiting=True)
        if said:
            yield talk, transcript(talk) + problem(said[0])
            return
        with sentences() as said, closing(answers(self.engine, talk.messages())) as coming:
            for heard, masked in coming:
                talk = talk.with_last(heard=heard, masked=masked)
                yield talk, transcript(talk, waiting=True)
        talk = talk.with_last(problem=said[0] if said else "")
        yield talk, transcript(talk)

    def stopped(self, talk: Talk) -> str:
        return transcript(talk)

    def forget(self) -> tuple[Any, ...]:
        return Talk(), transcript(Talk()), "", "", ""

    def rank(self, labels: str, question: str, clip: PageClip | None, talk: Talk) -> str:
        with sentences() as said:
            asked = _asked(question, clip, talk)
            return ranked(self.engine, asked.messages(), labels_of(labels))
        return problem(said[0])

    def weigh(self, talk: Talk) -> str:
        if not talk.answered.turns:
            return problem(_ASK_FIRST)
        with sentences() as said:
            return attended(self.engine, talk.answered)
        return problem(said[0])

    def compare(self, question: str, clip: PageClip | None, talk: Talk) -> Iterator[str]:
        with sentences() as said:
            yield from self.compared.ask(_asked(question, clip, talk).alone())
        if said:
            yield problem(said[0])


def _asked(question: str, clip: PageClip | None, talk: Talk) -> Talk:
    """The conversation up to the last question; before the first, up to the one in the box."""
    return talk.answered if talk.answered.turns else talk.asking(question, clip)
