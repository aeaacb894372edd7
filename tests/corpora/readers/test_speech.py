"""LibriSpeech and the spoken digits on synthetic files."""

from ..conftest import found


def test_synthetic_librispeech_transcripts_lie_beside_the_audio(read, tmp_path):
    folder = tmp_path / "audio" / "61" / "70"
    folder.mkdir(parents=True)
    (folder / "61-70.trans.txt").write_text("61-70-0000 HE SAID\n61-70-0001 NO\n")
    (folder / "61-70-0000.flac").write_bytes(b"x")
    corpus = read("librispeech", {})
    assert [(r.id, r.items[0]["answer"]) for r in corpus.records] == [
        ("61-70-0000", "HE SAID"),
        ("61-70-0001", "NO"),
    ]
    assert found(corpus, tmp_path) == ["61/70/61-70-0000.flac", None]


def test_synthetic_digits(read):
    corpus = read("fsdd", {}, ["7_jackson_3.wav", "notes.wav"])
    (record,) = corpus.records
    assert record.items[0]["answers"] == ["seven", "7"]
    assert record.facts == {"speaker": "jackson", "take": "3"}
    assert corpus.problems == ["notes.wav: expected a name like DIGIT_SPEAKER_TAKE.wav"]


def test_a_line_of_a_transcript_that_holds_no_text_is_listed(read, tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1-2.trans.txt").write_text("1-2-0000 HE SAID\n1-2-0001\n")
    corpus = read("librispeech", {})
    assert len(corpus.records) == 1
    assert corpus.problems == ["1-2.trans.txt, line 2: expected 'ID TEXT', got '1-2-0001'"]


def test_a_line_of_a_transcript_with_bytes_that_are_not_utf8_is_listed(read, tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1-2.trans.txt").write_bytes(b"1-2-0000 CAF\xc3\x89\n1-2-0001 CAF\xc9\n")
    corpus = read("librispeech", {})
    assert [record.items[0]["answer"] for record in corpus.records] == ["CAF\u00c9"]
    (problem,) = corpus.problems
    assert problem.startswith("1-2.trans.txt, line 2: expected text as answer, got bytes")
