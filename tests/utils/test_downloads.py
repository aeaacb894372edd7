"""Downloads: gone on with where they broke off, whole or not there."""

import errno

import pytest
from servers import serving

from pal_plugin.utils import downloads
from pal_plugin.utils.downloads import DownloadError, download

DATA = bytes(range(256)) * 2000


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(downloads, "_WAIT_S", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:
        served.files["/a.zip"] = DATA
        yield served


def test_a_file_is_fetched_with_a_bar(served, tmp_path, capsys):
    path = download(f"{served.url}/a.zip", tmp_path / "here.zip")
    assert path.read_bytes() == DATA
    assert [p.name for p in tmp_path.iterdir()] == ["here.zip"]
    bar = capsys.readouterr().err
    assert "here.zip: 100%" in bar
    assert "B/s" in bar


def test_it_goes_on_where_it_broke_off(served, tmp_path):
    served.break_offs = 2
    assert download(f"{served.url}/a.zip", tmp_path / "a.zip").read_bytes() == DATA
    half, three_quarters = len(DATA) // 2, len(DATA) * 3 // 4
    assert [part for _, part in served.asked] == [
        None,
        f"bytes={half}-",
        f"bytes={three_quarters}-",
    ]


def test_a_server_without_parts_begins_again(served, tmp_path):
    served.break_offs, served.ranges = 1, False
    assert download(f"{served.url}/a.zip", tmp_path / "a.zip").read_bytes() == DATA


def test_what_is_left_is_gone_on_with_by_the_next_call(served, tmp_path):
    served.break_offs = 99
    with pytest.raises(DownloadError, match=r"a\.zip: .* the download resumes"):
        download(f"{served.url}/a.zip", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    served.break_offs, before = 0, len(served.asked)
    assert download(f"{served.url}/a.zip", tmp_path / "a.zip").read_bytes() == DATA
    assert served.asked[before][1].startswith("bytes=")


def test_more_than_the_file_has_is_begun_again(served, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    assert download(f"{served.url}/a.zip", tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 4)])
def test_a_refusal_is_told_and_only_a_busy_server_is_asked_again(
    served, tmp_path, status, requests
):
    served.status = status
    with pytest.raises(DownloadError, match=rf"/a\.zip.*{status}"):
        download(f"{served.url}/a.zip", tmp_path / "a.zip")
    assert len(served.asked) == requests


def test_no_server_at_all(served, tmp_path):
    with pytest.raises(DownloadError, match="Check the network connection"):
        download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["mirror.example/a.zip", "http://a:b/a.zip", "http:// /a.zip"])
def test_what_is_no_address(tmp_path, url):
    with pytest.raises(DownloadError, match="is not a URL .*expected https://"):
        download(url, tmp_path / "a.zip")


def test_a_full_disk_is_not_taken_for_a_bad_connection(served, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_fetch", full)
    with pytest.raises(DownloadError, match=r"cannot write .*a\.zip\.part: .*No space left"):
        download(f"{served.url}/a.zip", tmp_path / "a.zip")
