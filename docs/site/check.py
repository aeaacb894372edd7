"""Checks the pages of a built site: links lead somewhere, and nothing is fetched from outside.

    python check.py FOLDER

Outside addresses are links a reader may follow; they are not tried. What a page loads by itself
(styles, scripts, pictures, fonts, sounds, frames) lies beside it.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Tags -> what they load; of `link` only styles, icons and the like are loaded.
LOADS = {
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "audio": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src",),
    "track": ("src",),
    "video": ("src", "poster"),
}
NOT_LOADED = {"next", "prev", "index", "search", "canonical", "author", "license", "alternate"}
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""")


class Page(HTMLParser):
    """What one page names.

    Attributes:
        anchors: ids that a link can lead to.
        links: where its links lead.
        loads: what it loads by itself.
    """

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self._in_style = tag == "style"
        self.loads += [values[name] for name in LOADS.get(tag, ()) if name in values]
        self.loads += IN_STYLES.findall(values.get("style", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and not NOT_LOADED & {*values.get("rel", "").split()}:
            self.loads.append(values.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loads += IN_STYLES.findall(data)


def is_outside(address: str) -> bool:
    """Whether an address leads to another machine; what is written in place (`data:`) does not."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def problems(folder: Path) -> list[str]:
    """All that is wrong with the site in a folder, one line each."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = [] if pages else [f"there is no page in {folder}"]
    for path, page in pages.items():
        name = path.relative_to(folder)
        for address in page.loads:
            if is_outside(address):
                found.append(f"{name} loads {address} from outside")
            elif not urlsplit(address).scheme and not _target(path, address).is_file():
                found.append(f"{name} loads {address}, which there is not")
        for address in page.links:
            parts = urlsplit(address)
            if parts.netloc or parts.scheme:
                continue
            target = _target(path, address)
            if not target.is_file():
                found.append(f"{name} links to {address}, which there is not")
                continue
            anchor = unquote(parts.fragment)
            if anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{name} links to {address}, where there is no such place")
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text("utf-8")
        outside = filter(is_outside, IN_STYLES.findall(text))
        found += [f"{path.relative_to(folder)} loads {address} from outside" for address in outside]
    return found


def _target(page: Path, address: str) -> Path:
    """The file that an address on a page means."""
    place = unquote(urlsplit(address).path)
    target = (page.parent / place).resolve() if place else page
    return target / "index.html" if target.is_dir() else target


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    print("\n".join(wrong) or "links lead somewhere, and nothing is loaded from outside")
    sys.exit(bool(wrong))
