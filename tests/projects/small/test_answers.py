"""What is ranked first is what an evaluation would count."""

import torch


class Ranked:
    """Of two names the second is likelier per token, and the first as a whole."""

    def predict_class(self, samples, names):
        return {"predictions": [names[1]], "probabilities": torch.tensor([[0.82, 0.18]])}


def test_the_name_that_is_ranked_first_stands_with_its_probability(script):
    found = script("answers").ranked(Ranked(), {}, ("cello", "violin or fiddle"))
    assert found == "violin or fiddle 18%"
