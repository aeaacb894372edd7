"""The padded batch, which stands in where the prefix tree cannot, gives the same figures."""

import pytest
import torch

from pal_plugin.llm.label_tree import read_prompt
from pal_plugin.llm.ranking import log_probabilities
from pal_plugin.models.batching import pad_ids


@pytest.mark.parametrize("model_type", ["lal", "plits", "flamingo"])
def test_padded_batch_equals_the_tree(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    prompts = [model.text.prompt_ids(q) for q in two_clips["text_input"]]
    candidates = [[5], [7, 8, 9], [7, 8], [7, 8, 9, 2], [5]]
    with torch.no_grad():
        inputs = model._inputs(
            two_clips, *pad_ids(prompts, "left", model.text.pad_id, model.device)
        )
        prompt = read_prompt(
            model.llm, inputs.embeds, inputs.mask, inputs.positions, **inputs.audio_kwargs
        )
        found = [
            log_probabilities(model.llm, prompt, candidates, tree, **inputs.audio_kwargs)
            for tree in (True, False)
        ]
        short = log_probabilities(model.llm, prompt, [[5]], False, **inputs.audio_kwargs)[0]
    assert found[0][0].shape == (2, 5)
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert found[0][1].tolist() == found[1][1].tolist() == [1, 3, 2, 4, 1]
    assert torch.allclose(short[:, 0], found[0][0][:, 0], atol=1e-5)
