"""Map generated text to a label: by its words, or by sentence embeddings as in LTU and GAMA.

Likelihood ranking (`AudioLLM.predict_class`) needs neither; these are for comparison with published
scores. Every result names the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pal_plugin.evaluation.metrics.answers import normalise
from pal_plugin.utils.errors import ConfigError

#: Text that stands for a label (LTU's and GAMA's evaluation scripts).
TEMPLATE = "sound of {label}"
_TOKENIZER_FILES = ["tokenizer*", "vocab*", "special_tokens_map.json", "*.model", "merges.txt"]


def string_match(text: str, labels: Sequence[str]) -> str | None:
    """The label that the text contains (`labels_in`); None for none or several."""
    named = labels_in(text, labels)
    return named[0] if len(named) == 1 else None


def labels_in(text: str, labels: Sequence[str]) -> list[str]:
    """The labels that the text contains, longest first.

    Labels match whole words after `normalise`. A label within a longer one in the text ("rain" in
    "rain on glass") does not count.
    """
    said = f" {normalise(text)} "
    named = []
    for label in sorted(labels, key=lambda label: -len(normalise(label))):
        words = f" {normalise(label)} "
        if words.strip() and words in said:
            named.append(label)
            # Replaced by a mark, so that the neighbors do not become one phrase.
            said = said.replace(words, " | ")
    return named


class SentenceEmbedder:
    """Normalized mean of a text encoder's last hidden states.

    Args:
        source: a folder or `owner/name` of the hub, loaded by transformers' `AutoModel` (a BERT, or
            a sentence model).
        batch_size: texts per batch.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    def __init__(self, source: str, batch_size: int = 64) -> None:
        from transformers import AutoModel, AutoTokenizer

        from pal_plugin.utils.hub import HubError, fetch, snapshot

        self.source, self.batch_size = source, batch_size
        try:
            path = fetch(source)
            if str(path) != source:
                snapshot(source, _TOKENIZER_FILES)
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModel.from_pretrained(path).eval()
        except (HubError, OSError, ValueError) as error:
            raise ConfigError(
                f"the embedding model {source!r} cannot be loaded: {error}. Expected a folder with "
                "config.json, weights and a tokenizer, or a hub id"
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings `[N, D]` of N lower-cased texts, float32."""
        import torch

        parts = []
        for start in range(0, len(texts), self.batch_size):
            batch = [text.lower() for text in texts[start : start + self.batch_size]]
            tokens = self.tokenizer(  # a text that spells `</s>` does not end there
                batch,
                padding=True,
                truncation=True,
                split_special_tokens=True,
                return_tensors="pt",
            )
            with torch.no_grad():
                hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            parts.append(torch.nn.functional.normalize(mean, dim=-1).float().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


@lru_cache(maxsize=2)
def embedder(source: str) -> SentenceEmbedder:
    """The embedder of `source`, loaded once."""
    return SentenceEmbedder(source)


def cosines(
    texts: Sequence[str],
    labels: Sequence[str],
    embed: SentenceEmbedder,
    template: str = TEMPLATE,
) -> np.ndarray:
    """Cosine similarity of every text with every label, `[texts, labels]`.

    Raises:
        ConfigError: the template lacks `{label}`.
    """
    if "{label}" not in template:
        raise ConfigError(f"the template {template!r} lacks {{label}}, where the label goes")
    return embed(texts) @ embed([template.replace("{label}", label) for label in labels]).T
