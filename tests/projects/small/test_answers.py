"""What is ranked first is what an evaluation would count."""

from types import SimpleNamespace

import torch


class Told:
    """Two names of one and of three tokens, the longer one likelier per token."""

    text = SimpleNamespace(answer_ids=lambda name: name.split())

    def predict_class(self, samples, names):
        return {"scores": torch.tensor([[-1.5, -1.0]])}


def test_names_are_ranked_per_token_as_an_evaluation_does(script):
    found = script("answers").ranked(Told(), {}, ("cello", "violin or fiddle"))
    # exp(-3) of exp(-1.5) + exp(-3)
    assert found == "violin or fiddle 18%"
