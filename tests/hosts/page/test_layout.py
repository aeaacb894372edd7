"""The page in Chromium, as its users see it. Needs gradio, chromium and playwright."""

import re
from urllib.parse import urlparse

import numpy as np
import pytest
import soundfile

from pal_plugin.clips import clip

pytestmark = pytest.mark.slow

ANSWERED = "#said li:nth-child({}) .pal-answers[aria-busy=false]"


def ask(page, question, turn):
    """Asks, and waits for both answers; returns them."""
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(ANSWERED.format(turn)).wait_for()
    return page.locator(f"#said li:nth-child({turn}) .pal-answer p:last-child").all_inner_texts()


def upload(page, path):
    page.locator("#clip input[type=file]").set_input_files(path)


def drawn(page, name):
    page.get_by_role("img", name=f"Waveform of {name}").wait_for()
    page.get_by_role("img", name=f"Log-mel spectrum of {name}").wait_for()


def overflow(page):
    """Names of elements that stick out of the window."""
    return page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 1 || box.left < -1);
        }).map(e => e.tagName + "." + e.className)"""
    )


def test_upload_ask_and_follow_up(visit, tmp_path):
    page = visit().page
    rate_hz = 16_000
    beep = np.sin(2 * np.pi * 600 * np.arange(2 * rate_hz) / rate_hz) / 2
    soundfile.write(tmp_path / "beep.wav", beep, rate_hz)
    upload(page, tmp_path / "beep.wav")
    drawn(page, "beep")
    heard, masked = ask(page, "What do you hear?", 1)
    assert heard
    assert masked
    assert page.locator("#clip audio").evaluate("player => player.duration") == pytest.approx(2)
    again = ask(page, "Is it loud?", 2)  # no clip of its own
    assert all(again)
    page.locator("#clip").get_by_role("button", name="Clear").click()
    upload(page, clip("dog"))
    drawn(page, "dog")
    ask(page, "And this?", 3)
    clips = page.locator("#said .pal-clip").all_inner_texts()
    assert clips == ["Clip 1: beep, 2.0 s", "Clip 2: dog, 5.0 s"]
    assert page.locator("#said li:nth-child(1) .pal-answer p:last-child").all_inner_texts() == [
        heard,
        masked,
    ]
    page.get_by_role("button", name="New conversation").click()
    page.get_by_text("Choose a clip and ask.").wait_for()
    assert page.locator("#said li").count() == 0


def test_ranking_attention_and_the_three_ways(visit):
    page = visit().page
    page.get_by_role("radio", name="dog").check()
    drawn(page, "dog")
    page.get_by_role("tab", name="Attention").click()
    page.get_by_role("button", name="Show the attention weights").click()
    page.get_by_role("alert").get_by_text("Ask a question first.").wait_for()
    heard, _ = ask(page, "What do you hear?", 1)
    page.get_by_role("button", name="Show the attention weights").click()
    page.locator("#weights figure").nth(1).wait_for()  # of both groups of tokens
    words = page.locator("#weights figure").first.locator(".pal-word").all_inner_texts()
    assert words == heard.split()
    assert page.get_by_role("img", name=re.compile(f"{words[0]}: .* on these tokens")).count() == 2
    assert "a proof of what caused the answer" in page.locator("#weights").inner_text()
    page.get_by_role("tab", name="Ranking").click()
    page.get_by_label("Labels").fill("bell, rain, siren")
    page.get_by_role("button", name="Rank the labels").click()
    page.locator("#bars tbody tr").first.wait_for()
    shares = page.locator("#bars .pal-bar:not(.pal-masked) b").all_inner_texts()
    assert sum(map(float, shares)) == pytest.approx(1, abs=0.02)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Ask PLITS, LAL and PAL").click()
    page.locator("#columns .pal-column").nth(2).wait_for()
    page.wait_for_function("!document.querySelector('#columns .pal-cursor')")
    assert page.locator("#columns .pal-answer").count() == 6
    names = page.locator("#columns h3").all_inner_texts()
    assert names == ["PLITS plits", "LAL lal", "PAL pal"]


def test_a_recording_is_a_clip(visit):
    page = visit().page
    page.get_by_role("button", name="Record audio").click()
    page.locator("#clip").get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    page.locator("#clip").get_by_role("button", name="Stop", exact=True).click()
    page.locator("#drawn .pal-plot").nth(1).wait_for()
    assert all(ask(page, "What do you hear?", 1))


def test_a_broken_file_is_a_sentence(visit, tmp_path):
    page = visit().page
    (tmp_path / "broken.wav").write_bytes(b"RIFF0000WAVEjunk")
    upload(page, tmp_path / "broken.wav")
    said = page.locator("#drawn").get_by_role("alert")
    said.wait_for()
    assert said.inner_text().startswith("Cannot decode broken.wav: ")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#said").get_by_role("alert").get_by_text("There is no clip yet.").wait_for()
    page.get_by_role("radio", name="rain").check()  # and the page works on
    drawn(page, "rain")
    assert all(ask(page, "What do you hear?", 1))


def test_two_users_keep_their_own_conversations(visit):
    first, second = visit().page, visit(380).page
    for page, name in ((first, "dog"), (second, "rain")):
        page.get_by_role("radio", name=name).check()
        drawn(page, name)
    for page in (first, second):  # both before the answer of either
        page.get_by_role("button", name="Ask", exact=True).click()
    for page, name in ((first, "dog"), (second, "rain")):
        page.locator(ANSWERED.format(1)).wait_for()
        clips = page.locator("#said .pal-clip").all_inner_texts()
        assert len(clips) == 1
        assert name in clips[0]
    ask(first, "Is it loud?", 2)
    assert second.locator("#said li").count() == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 1400])
def test_it_fits_asks_nobody_else_and_follows_the_colours(visit, connected, width, dark):
    seen = visit(width, dark)
    page = seen.page
    assert not overflow(page)
    page.get_by_role("radio", name="dog").check()
    drawn(page, "dog")
    ask(page, "What do you hear, and how many times, and is it loud or quiet or both?", 1)
    page.get_by_role("button", name="Rank the labels").click()
    page.locator("#bars tbody tr").first.wait_for()
    assert not overflow(page)
    page.get_by_role("tab", name="Attention").click()
    page.get_by_role("button", name="Show the attention weights").click()
    page.locator("#weights figure").first.wait_for()
    assert not overflow(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    hosts = {urlparse(address).hostname for address in seen.asked if address.startswith("http")}
    assert hosts == {"127.0.0.1"}
    assert {urlparse(a).scheme for a in seen.asked} <= {"http", "data", "blob"}
    assert len(seen.asked) > 10
    assert not seen.errors
    assert set(connected) <= {"127.0.0.1"}  # nor does the server
    font = page.evaluate("getComputedStyle(document.querySelector('h1')).fontFamily")
    assert font.startswith("system-ui")


def test_it_works_by_keyboard_alone(visit):
    page = visit().page

    def focused():
        return page.evaluate(
            """() => {
                const e = document.activeElement;
                return e.getAttribute("aria-label") || e.labels?.[0]?.innerText || e.innerText;
            }"""
        ).strip()

    def tab_to(name):
        passed = []
        while len(passed) < 15:
            page.keyboard.press("Tab")
            passed.append(focused())
            if passed[-1].startswith(name):
                return
        raise AssertionError(f"no {name!r} among {passed}")

    tab_to("Drop an audio file here")
    tab_to("dog")  # the radio buttons are one stop; space chooses, arrows move
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    drawn(page, "rooster")
    tab_to("Question")
    page.keyboard.press("Enter")
    page.locator(ANSWERED.format(1)).wait_for()
    tab_to("Ranking")
    tab_to("Labels")
    tab_to("Rank the labels")
    page.keyboard.press("Enter")
    page.locator("#bars tbody tr").first.wait_for()


def test_everything_has_a_name_for_screen_readers(visit):
    page = visit().page
    page.get_by_role("radio", name="dog").check()
    drawn(page, "dog")
    ask(page, "What do you hear?", 1)
    nameless = re.findall(r"- (?:button|textbox|combobox|radio|tab)(?:$|:)", snapshot(page), re.M)
    assert not nameless
    assert page.get_by_role("heading", level=1).inner_text() == "Ask about a sound"
    assert page.locator("#said").get_attribute("aria-live") == "polite"
    assert page.locator("html").get_attribute("lang")
    assert page.title() == "pal_plugin: ask about a sound"


def snapshot(page):
    return page.locator("body").aria_snapshot()


def test_stop_ends_an_answer(visit):
    page = visit().page
    page.get_by_role("radio", name="dog").check()
    drawn(page, "dog")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#said .pal-answers").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator(ANSWERED.format(1)).wait_for()
    page.wait_for_timeout(1000)
    assert page.locator("#said .pal-cursor").count() == 0
