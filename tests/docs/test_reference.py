"""docs/site/reference.py: pages from the docstrings of a package that cannot be imported."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # griffe comes with the extra `docs`, which make test-all installs
ROOT = Path(__file__).parents[2]

ROOM = '''"""A room, about `Door`."""

import nowhere
from toy.room.inner import Door
'''
INNER = '''"""Doors."""

import torch_of_nowhere

#: Widths that there are,
#: in metres.
WIDTHS = (0.8, 1.2)
SILENT = 1


class Door:
    """A door; `open` opens it, `Nobody` does not.

    Args:
        width, height: in metres, of `WIDTHS`.

    Raises:
        ValueError: neither.
    """

    def __init__(self, width: float, *, height: float = 2.0):
        self.width = width

    def open(self, by: str, /, *hands, slowly=False, **more) -> list[int]:
        """Opens it.

        Returns:
            `[B]`: how far.
        """

    @property
    def size(self) -> float:
        """Square metres."""

    def undescribed(self): ...

    def _hidden(self):
        """Not for others."""


def knock(door: Door, times=1):
    """Knock.

    Args:
        door: which.
        tunes: there is no such parameter.
    """
'''


@pytest.fixture
def written(tmp_path):
    """`(pages by name, complaints)` of a toy package."""
    pytest.importorskip("griffe", reason="make test-all installs griffe")
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/site/reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for name, text in {"__init__": "", "room/__init__": ROOM, "room/inner": INNER}.items():
        path = tmp_path / "toy" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "gone.md").write_text("of a room that there was", "utf-8")
    complaints = reference.write(tmp_path, "toy", folder)
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}, complaints


def test_there_is_a_page_for_each_room_and_one_that_leads_there(written):
    pages, _ = written
    assert pages.keys() == {"index.md", "room.md"}
    assert (
        "- [room](room.md): A room, about {py:obj}`Door <toy.room.inner.Door>`."
        in pages["index.md"]
    )


def test_public_and_described_is_what_has_an_entry(written):
    page = written[0]["room.md"]
    for line in (
        "{py:module} toy.room.inner",
        "{py:data} WIDTHS\n\nWidths that there are,\nin metres.",
        "{py:class} Door(width: float, *, height: float = 2.0)",
        "{py:method} open(by: str, /, *hands, slowly=False, **more) -> list[int]",
        "{py:property} size\n:type: float",
        "{py:function} knock(door: toy.room.inner.Door, times=1)",
    ):
        assert line in page
    for name in ("SILENT", "undescribed", "_hidden", "nowhere"):
        assert name not in page


def test_sections_become_fields_and_names_links(written):
    page = written[0]["room.md"]
    for line in (
        "A door; {py:obj}`open <toy.room.inner.Door.open>` opens it, `Nobody` does not.",
        ":param width,height: in metres, of {py:obj}`WIDTHS <toy.room.inner.WIDTHS>`.",
        ":raises ValueError: neither.",
        ":returns: `[B]`: how far.",
    ):
        assert line in page


def test_a_parameter_that_there_is_not_is_told(written):
    assert written[1] == ["toy.room.inner.knock describes 'tunes' and has no such parameter"]
