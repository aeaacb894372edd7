"""The chat form of the pocket LLM."""

import pytest
from transformers import AutoTokenizer

from pal_plugin.llm import pocket_chat
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.utils.locations import POCKET


def test_the_pocket_template_writes_what_the_pocket_llm_was_trained_on():
    made = AutoTokenizer.from_pretrained(POCKET / "llm")
    text = TextFormat(made)
    assert text.prompt_ids(" What? ") == made(pocket_chat.prompt("What?"))["input_ids"]
    target = made(pocket_chat.target("a bell"), add_special_tokens=False)["input_ids"]
    assert text.answer_ids("a bell") == target
    assert text.end_ids == [made.eos_token_id]
    with pytest.raises(Exception, match="no system messages"):
        TextFormat(made, system="Be brief.")
