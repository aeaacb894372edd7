"""What the tests of all families share: which run when, a batch with everything, comparisons."""

import pytest
import torch
from families import CASES, FAMILIES, NO_SDPA, VOCAB, WIDTH, build
from reference import lal_logits

from pal_plugin.integration import AudioContext
from pal_plugin.llm.lora import add_lora

#: The others, and the variants of `families.py`, run with `-m slow`.
DEFAULT = ("llama", "qwen3")
M, STEPS = 6, 5


def params(names, backends=(None,)):
    """Families, or pairs of family and backend; slow but for those of the default run."""
    return [
        pytest.param(
            *(name, backend)[: 1 if backend is None else 2],
            marks=[] if name in DEFAULT else pytest.mark.slow,
        )
        for name in names
        for backend in backends
        if backend != "sdpa" or name not in NO_SDPA  # see test_what_sdpa_leaves_out_is_refused
    ]


each_family = pytest.mark.parametrize("family", params(FAMILIES))
each_family_and_backend = pytest.mark.parametrize(
    ("family", "backend"), params(FAMILIES, ("eager", "sdpa"))
)
each_case_and_backend = pytest.mark.parametrize(
    ("family", "backend"), params(CASES, ("eager", "sdpa"))
)


def tiny(family, backend=None, **kwargs):
    """With the backend that transformers would choose, where that one can hear."""
    return build(family, backend or ("eager" if family in NO_SDPA else "sdpa"), **kwargs)


class Batch:
    """Three texts that hear 6, 4 and no audio tokens; NaN where audio is padded.

    The second text is two and the third three tokens shorter, on the left or on the right. The
    second clip has gaps, as from two groups of tokens, each of which is padded.
    """

    def __init__(self, padding="left", n=7, seed=1):
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(1, VOCAB, (3, n), generator=generator)
        self.features = torch.randn(3, M, WIDTH, generator=generator)
        self.probe = torch.randn(3, n, VOCAB, generator=generator)
        self.mask = torch.ones(3, n, dtype=torch.long)
        self.audio_mask = torch.ones(3, M, dtype=torch.bool)
        if padding is not None:
            for row, pad in ((1, 2), (2, 3)):
                self.mask[row, slice(0, pad) if padding == "left" else slice(n - pad, n)] = 0
            self.audio_mask[1, [0, 3]] = False
            self.audio_mask[2] = False
            self.ids[self.mask == 0] = 0
            self.features[~self.audio_mask] = float("nan")
        self.padding = padding

    def audio(self, layers=None, **more):
        return AudioContext(self.features, self.audio_mask, layers, **more)

    @property
    def text(self):
        """What a forward pass takes; where nothing is padded nobody passes a mask."""
        kept = {} if self.padding is None else {"attention_mask": self.mask}
        return {"input_ids": self.ids, **kept}

    def heard(self, row):
        return self.features[row, self.audio_mask[row]]

    def valid(self, row):
        return self.mask[row].bool()

    def reference(self, llm, layers=None, columns=None):
        """`columns`: those of the padded audio that a layer hears, by its index."""

        def of_row(row):
            if columns is None:
                return None
            place = self.audio_mask[row].long().cumsum(0) - 1
            return lambda layer: [
                int(place[column]) for column in columns(layer) if self.audio_mask[row, column]
            ]

        return [
            lal_logits(llm, self.ids[row, self.valid(row)], self.heard(row), layers, of_row(row))
            for row in range(3)
        ]

    def check(self, logits, expected, tolerance=1e-5):
        """`expected`: rows of the valid tokens alone, or padded as `logits` are."""
        for row in range(3):
            wanted = expected[row]
            if len(wanted) == logits.shape[1]:
                wanted = wanted[self.valid(row)]
            close(logits[row, self.valid(row)], wanted, tolerance)

    def loss(self, logits):
        """A scalar on which every valid logit has its own weight."""
        return (logits * self.probe)[self.mask.bool()].sum()

    def loss_of_reference(self, llm, columns=None):
        rows = enumerate(self.reference(llm, columns=columns))
        return sum((row * self.probe[i, self.valid(i)]).sum() for i, row in rows)


def close(a, b, tolerance=1e-5):
    difference, scale = (a - b).abs().max().item(), b.abs().max().item()
    assert difference <= tolerance * scale, f"{difference:.2e} of {scale:.3g}"


def differ(a, b, by=1e-2):
    assert (a - b).abs().max() > by * b.abs().max()


def randomise_lora(llm):
    """A fresh B is zero, and the adapter would not be seen."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in llm.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return llm


def lora_targets(family):
    names = ("qkv_proj",) if family.startswith("phi3") else ("q_proj", "k_proj", "v_proj")
    return [*names, "o_proj"]


def with_lora(llm):
    return randomise_lora(add_lora(llm))


def generate(llm, batch, **options):
    return llm.generate(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        audio=batch.audio(),
        max_new_tokens=STEPS,
        pad_token_id=0,
        return_dict_in_generate=True,
        **options,
    )


def reference_of_generated(llm, batch, sequences):
    """Per sequence: the new tokens `[STEPS]` and the logits `[STEPS, V]` that they were drawn from.

    One pass over the finished text gives the logits of every step, as each depends on the tokens
    in front of it only.
    """
    times = len(sequences) // 3
    for row, sequence in enumerate(sequences):
        prompt, new = batch.ids[row // times, batch.valid(row // times)], sequence[-STEPS:]
        whole = torch.cat([prompt, new])
        yield new, lal_logits(llm, whole[:-1], batch.heard(row // times))[-STEPS:]
