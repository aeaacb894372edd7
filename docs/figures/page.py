"""Takes page_wide.png and page_narrow.png: the page of `pal serve` with the model `small`.

    python docs/figures/page.py [FOLDER]

Needs `pal weights get small`, the extras `page` and `docs`, and Debian's chromium. Writes beside
itself, or into FOLDER.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pal_plugin.hosts.page.alone import running
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.serving.engine import Engine


def use(page: Page, url: str) -> None:
    """Ask about the dog."""
    page.goto(url)
    page.get_by_role("radio", name="dog").check()
    page.get_by_role("img", name="Waveform of dog").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#said .pal-answers[aria-busy=false]").wait_for()


def rank(page: Page) -> None:
    """The ranking of the labels."""
    page.get_by_role("button", name="Rank the labels").click()
    page.locator("#bars tbody").wait_for()


def weigh(page: Page) -> None:
    """The attention weights."""
    page.get_by_role("tab", name="Attention").click()
    page.get_by_role("button", name="Show the attention weights").click()
    page.locator("#weights figure").first.wait_for()


def take(page: Page, path: Path) -> None:
    """A picture of the whole page, in 256 colours."""
    page.mouse.move(0, 0)
    page.locator("h1").click()  # nothing has the focus
    page.wait_for_timeout(500)
    page.screenshot(path=path, full_page=True, animations="disabled")
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Both pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    with (
        Engine(AudioLLM.from_pretrained("small")) as engine,
        running(engine, "small") as url,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, width, show in (("wide", 1400, weigh), ("narrow", 380, rank)):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.set_default_timeout(120_000)
            use(page, url)
            show(page)
            take(page, folder / f"page_{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
