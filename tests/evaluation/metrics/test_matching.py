"""Generated text to labels: by words, and by a tiny sentence model that is made here."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from pal_plugin.evaluation.metrics.matching import (
    SentenceEmbedder,
    cosines,
    labels_in,
    string_match,
)
from pal_plugin.utils.errors import ConfigError

LABELS = ["rain", "rain on glass", "dog", "hand saw"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The sound of a Dog!", "dog"),
        ("rain on glass", "rain on glass"),
        ("rain on glass, then rain", None),
        ("hand-saw", "hand saw"),
        ("a dog in the rain", None),
        ("training", None),
        ("hand rain saw", "rain"),
        ("", None),
    ],
)
def test_a_text_names_one_label_or_none(text, label):
    assert string_match(text, LABELS) == label


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sound", "of", "rain", "dog", "loud"]
    (path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(path)
    return path


def test_an_embedding_is_the_mean_over_the_words_and_not_the_padding(sentence_model):
    embed = SentenceEmbedder(str(sentence_model), batch_size=2)
    texts = ["Sound of rain", "dog", "loud sound of loud dog"]
    found = embed(texts)
    for text, vector in zip(texts, found, strict=True):
        tokens = embed.tokenizer(text.lower(), return_tensors="pt")
        with torch.no_grad():
            mean = embed.model(**tokens).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_the_label_itself_is_nearest(sentence_model):
    embed = SentenceEmbedder(str(sentence_model))
    found = cosines(["sound of dog", "SOUND of rain"], ["rain", "dog"], embed)
    assert found.shape == (2, 2)
    assert found.argmax(1).tolist() == [1, 0]
    np.testing.assert_allclose(found.max(1), 1.0, atol=1e-5)
    with pytest.raises(ConfigError, match=r"\{label\}"):
        cosines(["dog"], ["dog"], embed, "sound")


def test_a_text_that_spells_a_control_token_is_embedded_as_text(sentence_model):
    embed = SentenceEmbedder(str(sentence_model))
    plain = embed(["loud dog"])
    embed.tokenizer.add_special_tokens({"mask_token": "loud dog"})
    np.testing.assert_allclose(embed(["loud dog"]), plain)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        SentenceEmbedder(str(tmp_path / "nowhere"))


def test_all_labels_in_a_text():
    assert labels_in("Rain on glass, a dog and rain", ["rain", "rain on glass", "dog"]) == [
        *("rain on glass", "rain", "dog")
    ]
    assert labels_in("training", ["rain"]) == []
