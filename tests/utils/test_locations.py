"""Where weights are: in the package, or where the name says."""

from pathlib import Path

import pytest

from pal_plugin.utils.locations import POCKET, resolve


def test_pocket_weights_are_in_the_package_and_other_names_stay():
    assert Path(resolve("pocket://sslam.safetensors")) == POCKET / "sslam.safetensors"
    assert resolve("someone/llm") == "someone/llm"
    assert resolve(Path("a") / "b.safetensors") == str(Path("a") / "b.safetensors")


def test_others_are_named_with_those_that_are_there():
    with pytest.raises(FileNotFoundError, match=r"'pocket://gone' .*available: .*sslam"):
        resolve("pocket://gone")


def test_published_weights_are_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"weights://toy is not in .*pal weights get small"):
        resolve("weights://toy")
    (tmp_path / "weights" / "toy").mkdir(parents=True)
    assert resolve("weights://toy") == str(tmp_path / "weights" / "toy")
