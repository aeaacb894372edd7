"""`pal serve`: what its arguments mean, and mistakes that are told before a model is loaded."""

import argparse
import importlib.util
from dataclasses import fields

import pytest

from pal_plugin.commands import serve
from pal_plugin.commands.main import main
from pal_plugin.hosts.server.settings import Limits, option
from pal_plugin.utils.errors import ConfigError


def settings(*argv):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return serve.settings_of(parser.parse_args(argv), "lal")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(serve.KEY, raising=False)


def test_without_arguments_it_is_for_this_machine():
    found = settings()
    assert (found.name, found.key, found.urls) == ("lal", None, ())
    assert found.hosts == ("localhost", "127.0.0.1", "[::1]")
    assert found.limits == Limits()


def test_other_machines_need_a_key(monkeypatch):
    for host in ("0.0.0.0", "::", "192.168.0.2", "example.org"):
        with pytest.raises(ConfigError, match="set a key in the variable PAL_API_KEY"):
            settings("--host", host)
    assert settings("--host", "0.0.0.0", "--without-key").key is None
    monkeypatch.setenv(serve.KEY, "open-sesame")
    found = settings("--host", "0.0.0.0")
    assert (found.key, found.hosts) == ("open-sesame", None)
    assert settings("--api-key", "other").key == "other"
    monkeypatch.setenv(serve.KEY, "")
    with pytest.raises(ConfigError, match="API key is empty"):
        settings()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_this_machine_needs_none(host):
    assert settings("--host", host).key is None


def test_names_of_hosts_and_of_the_model():
    found = settings(
        *("--allow-host", "Audio.Example.org", "--allow-url", "a.example", "--name", "ear"),
        *("--allow-url", "b.example:81", "--transcription-question", "Which words?"),
    )
    assert found.hosts[-1] == "audio.example.org"
    assert found.urls == ("a.example", "b.example:81")
    assert (found.name, found.question) == ("ear", "Which words?")


@pytest.mark.parametrize("one", fields(Limits), ids=lambda one: one.name)
def test_every_limit_is_an_option_that_is_explained(one, capsys):
    assert getattr(settings(option(one.name), "3").limits, one.name) == 3
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"{option(one.name)} {one.metadata['unit']} " in told
    assert f"({one.default}; {one.metadata['status']})" in told


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--model", "lall"], "Did you mean 'lal'"),
        (["--model", "lal", "--max-clips", "0"], "--max-clips is 0"),
        (["--model", "lal", "--host", "0.0.0.0"], "--without-key"),
        (["--model", "lal", "--port", "70000"], "cannot listen on 127.0.0.1, port 70000"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(argv, told, capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pal_plugin.models.opening.Found.open", never)
    assert main(["serve", *argv]) == 2
    assert told in capsys.readouterr().err


def test_a_model_that_the_engine_cannot_run_is_told(capsys, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("it asks for num_beams")

    monkeypatch.setattr("pal_plugin.models.opening.Found.open", lambda found: None)
    monkeypatch.setattr("pal_plugin.serving.engine.Engine.__init__", refuse)
    assert main(["serve", "--model", "lal", "--port", "0"]) == 2
    assert "lal cannot be served: it asks for num_beams" in capsys.readouterr().err


def test_what_is_not_installed_is_named(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    assert main(["serve", "--model", "lal"]) == 2
    assert "pip install 'pal-plugin[serve]'" in capsys.readouterr().err


def test_the_page_is_mounted_if_it_can_be(monkeypatch):
    assert serve._mounted(None, None, "lal", is_unwanted=True) == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pal-plugin[page]" in serve._mounted(None, None, "lal", is_unwanted=False)
