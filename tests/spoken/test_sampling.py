"""Which sampled lines are kept; the LLM's part, on a tiny random one."""

import pytest

from pal_plugin.spoken import sampling
from pal_plugin.spoken.sampling import Sample, normal, select


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Somebody left the window open last night.", "somebody left the window open last night"),
        (
            " I don\N{RIGHT SINGLE QUOTATION MARK}t know, and I'm glad! ",
            "i don't know and i'm glad",
        ),
        ("Is it?", None),  # too short
        ("We saw a very big and a very old and happy dog.", None),  # too long
        ("We went to Paris yesterday.", None),  # a name
        ("There are 3 of them here.", None),
        ("The dog is here. The cat is not.", None),
        ("The dog is the", None),  # not finished
        ("The dog dog is here.", None),
        ("They killed the old dog.", None),
    ],
)
def test_whole_plain_sentences_are_kept(line, kept):
    assert normal(line) == kept


def test_selection_is_likely_new_known_and_varied():
    samples = [
        Sample("The dog is here.", -1.0),
        Sample("The dog is here!", -1.0),
        Sample("The dog is blorp.", -1.0),
        Sample("The dog likes frumious tea.", -1.0),
        Sample("My frumious cat is here.", -1.0),
        Sample("The cat is happy today.", -5.0),
        Sample("The dog is late.", -1.0),
    ]
    known = {"the", "dog", "is", "here", "likes", "tea", "my", "cat", "late"}
    assert select(samples, known, 9) == [
        "the dog is here",
        "the dog likes frumious tea",
        "my frumious cat is here",
        "the dog is late",
    ]
    assert select(samples, known, 9, same_start=1) == ["the dog is here", "my frumious cat is here"]
    assert select(samples, known, 1) == ["the dog is here"]


def test_lines_are_drawn_and_the_file_says_what_it_is(tiny_llm, tmp_path, monkeypatch, capsys):
    for name, value in (("PROMPT", "Words:\n"), ("ROWS", 64), ("MOST_TOKENS", 40), ("TOP_K", 400)):
        monkeypatch.setattr(sampling, name, value)
    monkeypatch.setattr(sampling, "fitting", lambda words, tokenizer: list(words)[:1])
    drawn = [list(sampling.draw(tiny_llm, 64, seed, 2.0)) for seed in (1, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0]
    assert all(sample.likelihood < 0 for sample in drawn[0])
    monkeypatch.setattr(sampling, "draw", lambda *given: [Sample("The dog is here.", -1.0)])
    out = tmp_path / "sentences.txt"
    sampling.main(["--out", str(out), "--model", tiny_llm])
    assert out.read_text().startswith("# English sentences sampled from SmolLM2")
    assert "0 of 1 sentences" in capsys.readouterr().out  # nothing is known to this tokenizer
