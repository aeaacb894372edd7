"""Prompts that were made in another way are ranked as the model ranks a batch."""

import pytest
import torch

from pal_plugin.models.ranked import ranked

LABELS = ["a bell", "rain", "a bell rings"]


def test_it_is_what_predict_class_returns(tiny_model, two_clips):
    model = tiny_model("pal")
    samples = {"audio": two_clips["audio"], "text_input": two_clips["text_input"]}
    found = ranked(model.llm, model.text, model.prompts(samples), LABELS)
    expected = model.predict_class(samples, LABELS)
    assert found["predictions"] == expected["predictions"]
    for name in ("scores", "probabilities"):
        torch.testing.assert_close(found[name], expected[name])
    with pytest.raises(ValueError, match="of the answer that is"):
        ranked(model.llm, model.text, model.prompts(samples), ["a bell " * 2000])
