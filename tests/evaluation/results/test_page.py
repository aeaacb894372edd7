"""The page of runs: whole in one file, safe whatever the texts are, and side by side."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from pal_plugin.evaluation.results import page
from pal_plugin.evaluation.results.figures import Figure, figures_of
from pal_plugin.evaluation.results.read import read_run, read_runs
from pal_plugin.utils import files
from tests.evaluation.results.conftest import answers, write

NASTY = """<script>alert(1)</script><img src=x onerror="a()">'&"""


class Read(HTMLParser):
    """Tags, addresses and text of a page; every tag must be closed."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.places, self.text, self.open = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.places += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def of(folders, **options):
    runs = read_runs(folders)
    figures = [figure for run in runs for figure in figures_of(run, draws=20)]
    costs = {runs[0].name: {"steps": "7"}}
    return page.html(runs, figures, costs, **options)


@pytest.fixture
def heard(tmp_path):
    """A run with labels, a clip and a picture."""
    rows = answers([1, 0])
    rows[1] |= {
        "question": NASTY,
        "prediction": NASTY,
        "prediction_masked": NASTY,
        "ranked": [[NASTY, 0.75], ["yes", 0.25]],
    }
    folder = write(tmp_path / "run", rows)
    (folder / "result" / "clips").mkdir()
    soundfile.write(folder / "result" / "clips" / "a.ogg", np.zeros(1600), 16000)
    clip = {"file": "a.ogg", "seconds": 40.0}
    entry = {"split": "val", "dataset": None, "sample_id": "1", "clips": [clip]}
    files.write_jsonl(folder / "result" / "clips.jsonl", [entry])
    (folder / "curves.png").write_bytes(b"picture")
    return folder


def test_markup_in_texts_stays_text(heard):
    text = of([heard])
    read = Read(text)
    assert read.text.count(NASTY) == 4
    assert "script" not in read.tags
    assert "0.750" in read.text


def test_nothing_is_requested(heard):
    text = of([heard])
    places = Read(text).places
    assert any(place.startswith("data:audio/ogg") for place in places)
    assert any(place.startswith("data:image/png") for place in places)
    assert all(place.startswith("data:") for place in places)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|http:|https:", text)


def test_it_shows_figures_cost_settings_and_clips(heard):
    text = Read(of([heard])).text
    for part in ("0.500", "steps7", "the first 30 of 40.0 s", "model.model_type", "2 answers"):
        assert part in text.replace("\n", "")
    assert "model: {model_type: lal}" in text  # all of config.yaml


def test_runs_are_side_by_side(runs):
    text = Read(of(runs)).text
    assert "one: " in text
    assert "two: " in text
    assert "run.seed" in text
    rows = re.findall(r"<tr>.*?</tr>", of(runs))
    (line,) = (row for row in rows if "<td>qa</td><td>accuracy</td>" in row)
    assert re.findall(r">(0\.\d{3})<", line)[:3:2] == ["0.750", "0.500"]
    assert "kept no clips" in text


def test_the_worst_come_first(runs):
    cards = re.findall(r"<article>.*?</article>", of(runs[:1], worst=True))
    assert ["✗" in card for card in cards] == sorted(("✗" in card for card in cards), reverse=True)
    assert "✗" in cards[0]
    mixed = re.findall(r"<article>.*?</article>", of(runs[:1]))
    assert [("✗" in card) for card in mixed[:4]] == [False, True, False, True]


def test_what_would_make_it_too_large_is_left_out(heard, monkeypatch):
    monkeypatch.setattr(page, "LIMIT_BYTES", 100)
    text = Read(of([heard])).text
    assert "pictures or clips were left out" in text
    assert "no audio" in text


def test_without_results_there_are_curves_and_cost(heard):
    run = read_run(heard, evaluated=False)
    text = page.html([run], [], {run.name: {"steps": "7"}})
    assert "training loss (left)" in Read(text).text
    assert all(f"<h2>{title}</h2>" not in text for title in ("Results", "Answers"))


def test_pictures_players_and_figures_say_what_they_are(heard):
    for name in ("confusion", "confusion_masked"):
        (heard / "result" / f"val.classification.{name}.png").write_bytes(b"picture")
    text = of([heard])
    named = re.findall(r'<img [^>]*alt="([^"]+)"', text)
    assert named[0].startswith("training loss")
    by_label = "clips by right label (rows) and given label (columns)"
    assert named[1] == f"val, classification: {by_label}"
    assert named[2] == f"val, classification, with the audio masked: {by_label}"
    assert named[3].startswith("log-mel spectrogram, the first 30 of 40.0 s")
    assert len(named) == text.count("<img") == 4
    assert 'aria-label="clip 1, the first 30 of 40.0 s"' in text
    assert "model type lal" in text


def test_figures_that_are_better_lower_say_so(runs):
    figure = Figure("one", "val", "caption", "loss", 1.0, None, None, None, None, 4, 4, 4)
    run = read_run(runs[0])
    assert "loss: nats per token of the reference, lower is better." in page.html(
        [run], [figure], {}
    )
    assert "lower is better" not in of(runs)
