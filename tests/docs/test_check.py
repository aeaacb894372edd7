"""docs/site/check.py: what a reader of the site would stumble over is found."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check", ROOT / "docs/site/check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    """A folder of two pages without a fault: `site(body)` puts a body into the first."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/style.css").write_text("p { background: url('data:image/png;base64,AA==') }")
    (tmp_path / "a/other.html").write_text('<h1 id="here">x</h1><a href="../index.html">back</a>')

    def make(body: str) -> Path:
        head = '<link rel="stylesheet" href="a/style.css?v=1"><link rel="next" href="gone.html">'
        (tmp_path / "index.html").write_text(f"<head>{head}</head><body>{body}</body>")
        return tmp_path

    return make


@pytest.mark.parametrize(
    "body",
    [
        '<a href="a/other.html#here">x</a> <a href="https://example.org/x">outside, by a click</a>',
        '<p id="%C3%BC">x</p><a href="mailto:a@example.org">x</a>',
        '<audio><source src="data:audio/wav;base64,AA=="></audio><img src="a/style.css">',
        "<pre>&lt;img src=https://example.org/x.png&gt;</pre>",
    ],
)
def test_a_site_that_is_whole_has_no_problems(check, site, body):
    assert check.problems(site(body)) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="gone.html">x</a>', "links to gone.html"),
        ('<a href="a/other.html#there">x</a>', "links to a/other.html#there"),
        ('<a href="#there">x</a>', "links to #there"),
        ('<img src="gone.png">', "loads gone.png"),
        ('<img src="https://example.org/x.png">', "from outside"),
        ('<script src="//example.org/x.js"></script>', "from outside"),
        ('<link rel="stylesheet" href="http://example.org/x.css">', "from outside"),
        ('<link rel="preconnect" href="https://example.org">', "from outside"),
        ('<p style="background: url(https://example.org/x.png)">x</p>', "from outside"),
        ('<style>@import "https://example.org/x.css";</style>', "from outside"),
        ('<video poster="https://example.org/x.png"></video>', "from outside"),
    ],
)
def test_what_leads_nowhere_or_comes_from_outside_is_named(check, site, body, said):
    (problem,) = check.problems(site(body))
    assert problem.startswith("index.html")
    assert said in problem


def test_styles_are_read_too(check, site):
    folder = site("")
    (folder / "a/style.css").write_text("@font-face { src: url(https://example.org/f.woff2) }")
    assert check.problems(folder) == ["a/style.css loads https://example.org/f.woff2 from outside"]


def test_an_empty_folder_is_no_site(check, tmp_path):
    assert len(check.problems(tmp_path)) == 1
