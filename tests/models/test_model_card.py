"""The model card: how the model hears, what is in the folder, and figures where there are some."""

import pytest

from pal_plugin.models.model_card import text


@pytest.fixture
def card(tiny_config, tiny_model):
    """`card(kind, metrics, path)` -> the text."""

    def make(kind="pal", metrics=(), path=None):
        section = tiny_config(kind)
        section["llm"]["path"] = path or section["llm"]["path"]
        return text(section, tiny_model(kind), {"connectors.speech", "llm.lora"}, dict(metrics))

    return make


def test_it_tells_how_the_model_hears(card):
    told = card(path="someone/llm")
    assert told.startswith("---\n")
    assert "base_model: someone/llm" in told
    assert all(f"\n- {tag}\n" in told for tag in ("audio", "lal", "plits"))
    assert "| speech | whisper | mlp | plits | default |" in told
    assert "| sslam | sslam | in this folder |" in told
    assert "holds connectors.speech, llm.lora" in told
    assert '# llm="PATH" where the LLM is elsewhere' in told
    assert "| general | sslam, clap | lfst | flamingo | 1 |" in card("flamingo")


def test_an_llm_in_the_folder_is_told_so(card):
    told = card(path="./llm")
    assert "The LLM is in `llm/`." in told
    assert "base_model" not in told
    assert "where the LLM is elsewhere" not in told


def test_figures_are_those_that_were_measured(card):
    assert "None were recorded." in card()
    told = card(metrics={"accuracy on x": 0.5})
    assert "| accuracy on x | 0.5 |" in told
    assert "None were recorded." not in told


def test_a_group_without_a_route_has_no_card(tiny_config, tiny_model):
    section = tiny_config("lal")
    section["connectors"]["music"] = section["connectors"]["speech"]
    with pytest.raises(KeyError, match="music"):
        text(section, tiny_model("lal"), set(), {})
