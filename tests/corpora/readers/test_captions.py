"""AudioCaps and Clotho on synthetic files."""

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.utils.errors import ConfigError

from ..conftest import found


def test_synthetic_audiocaps_joins_the_captions_of_a_clip(read, tmp_path):
    text = (
        'audiocap_id,youtube_id,start_time,caption\n1,-ab,30,"A dog, barking"\n'
        "2,-ab,30,A bark\n3,cd,0,Rain\n4,ef,5,Wind\n"
    )
    corpus = read("audiocaps", {"test.csv": text}, ["Y-ab_30.flac", "cd.wav", "4.ogg"])
    assert corpus.records[0].items[0]["answers"] == ["A dog, barking", "A bark"]
    assert corpus.records[0].facts["audiocap_ids"] == ["1", "2"]
    assert found(corpus, tmp_path) == ["Y-ab_30.flac", "cd.wav", "4.ogg"]


def test_synthetic_clotho_takes_licences_from_the_metadata(read, tmp_path):
    captions = (
        "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)) + "\na b.wav,1,2,3,4,5\n"
    )
    metadata = (
        "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
        "a b.wav,rain;d\xe4mmer,1,http://x,[0],m,CC0\n"
    )
    (tmp_path / "m.csv").write_bytes(metadata.encode("latin-1"))
    folder = tmp_path / "audio"
    folder.mkdir()
    (tmp_path / "c.csv").write_text(captions)
    corpus = read_corpus("clotho", [tmp_path / "c.csv", tmp_path / "m.csv"], AudioFolder(folder))
    (record,) = corpus.records
    assert record.items[0]["answers"] == ["1", "2", "3", "4", "5"]
    assert record.facts["licence"] == "CC0"
    assert record.facts["keywords"] == "rain;dämmer"
    with pytest.raises(ConfigError, match="needs a file with captions"):
        read_corpus("clotho", [tmp_path / "m.csv"], AudioFolder(folder))


def test_quotes_of_clothos_metadata_stay_quotes(read, tmp_path):
    captions = "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)) + "\na.wav,1,2,3,4,5\n"
    (tmp_path / "audio").mkdir()
    (tmp_path / "c.csv").write_text(captions)
    metadata = "file_name,keywords,license\na.wav,dog\u2019s;caf\u00e9,CC0\n"
    (tmp_path / "m.csv").write_bytes(metadata.encode("cp1252"))
    files = [tmp_path / "c.csv", tmp_path / "m.csv"]
    (record,) = read_corpus("clotho", files, AudioFolder(tmp_path / "audio")).records
    assert record.facts["keywords"] == "dog\u2019s;caf\u00e9"
