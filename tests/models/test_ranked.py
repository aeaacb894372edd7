"""Candidates are ranked by what training calls their loss."""

import pytest
import torch

from pal_plugin.models.ranked import ranked

LABELS = ["a bell", "rain", "a bell rings"]


def test_scores_are_losses(tiny_model, two_clips):
    model = tiny_model("pal")
    samples = {"audio": two_clips["audio"], "text_input": two_clips["text_input"]}
    found = ranked(model.llm, model.text, model.prompts(samples), LABELS)
    with torch.no_grad():
        losses = [model({**samples, "text_output": [c] * 2})["per_row_loss"] for c in LABELS]
    expected = -torch.stack(losses, 1)
    torch.testing.assert_close(found["scores"], expected)
    counts = torch.tensor([len(model.text.answer_ids(label)) for label in LABELS])
    torch.testing.assert_close(found["probabilities"], (expected * counts).softmax(1))
    assert found["predictions"] == [LABELS[i] for i in expected.argmax(1)]
    with pytest.raises(ValueError, match="of the answer that is"):
        ranked(model.llm, model.text, model.prompts(samples), ["a bell " * 2000])
