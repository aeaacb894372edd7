"""Audio among the text: LAL against the stock model whose audio rows are reset before every layer.

That oracle is LAL by definition and knows nothing of places: it is given rows of text and audio in
the order in which they are read. Nothing but the order of these rows is taken from the package.
Where windows are active, which count text only, the equations of `reference.py` stand in for it.
"""

from dataclasses import replace

import pytest
import torch
from checks import each_case_and_backend, each_family, tiny, with_lora
from families import VOCAB, WIDTH
from reference import lal_logits

from pal_plugin.attention.keys_values import precompute
from pal_plugin.integration import AudioContext, attach, flamingo
from pal_plugin.integration.plits import prepend
from pal_plugin.llm.families import embedding_scale
from pal_plugin.types import AudioTokens

N, M = 9, 8
#: Of three rows: in front and twice inside; in front and once; not in the order of columns.
PLACES = torch.tensor(
    [[0, 0, 2, 2, 2, 5, 5, 5], [0, 0, 0, 0, 0, 4, 4, 4], [1, 1, 1, 6, 6, 6, 3, 3]]
)


class Conversation:
    """Texts of 9, 7 and 6 tokens with clips in them; NaN where audio is padded."""

    def __init__(self, side="left", seed=3):
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(1, VOCAB, (3, N), generator=generator)
        self.mask = torch.ones(3, N, dtype=torch.long)
        for row, pad in ((1, 2), (2, 3)):
            self.mask[row, slice(0, pad) if side == "left" else slice(N - pad, N)] = 0
        self.ids[self.mask == 0] = 0
        self.features = torch.randn(3, M, WIDTH, generator=generator)
        self.audio_mask = torch.ones(3, M, dtype=torch.bool)
        self.audio_mask[1, 3] = False
        self.audio_mask[2, 6:] = False
        self.probe = torch.randn(3, N, VOCAB, generator=generator)
        self.side = side

    def audio(self, features=None):
        features = self.features if features is None else features
        padded = torch.where(self.audio_mask[..., None], features, torch.nan)
        return AudioContext(padded, self.audio_mask, places=PLACES)

    @property
    def text(self):
        return {"input_ids": self.ids, "attention_mask": self.mask}

    def rows(self, llm, features):
        tokens = AudioTokens(features, self.audio_mask)
        embeds = llm.get_input_embeddings()(self.ids)
        scale = embedding_scale(llm)
        return prepend(tokens, embeds, self.mask, scale, self.side, PLACES)

    def loss(self, logits):
        return (logits * self.probe)[self.mask.bool()].sum()

    def oracle(self, llm, features=None):
        """Logits at the text tokens, `[3, N, V]`, of an LLM that is not attached."""
        features = self.features if features is None else features
        row = self.rows(llm, features)
        at = torch.arange(3)[:, None].expand(3, M)[self.audio_mask]
        columns = row.columns[0][self.audio_mask]

        def reset(_, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            hidden = hidden.index_put((at, columns), features[self.audio_mask])
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        layers = llm.get_decoder().layers
        hooks = [layer.register_forward_pre_hook(reset, with_kwargs=True) for layer in layers]
        positions = (row.mask.long().cumsum(-1) - 1).clamp(min=0)
        mask = row.mask.long()
        out = llm(inputs_embeds=row.embeds, attention_mask=mask, position_ids=positions).logits
        for hook in hooks:
            hook.remove()
        return out.gather(1, row.columns[1][..., None].expand(-1, -1, VOCAB))

    def check(self, got, wanted, tolerance=1e-5):
        valid = self.mask.bool()
        error = (got - wanted)[valid].abs().max()
        assert error <= tolerance * wanted[valid].abs().max(), error


def without_window(llm):
    """No window is active: in the oracle's rows it would count audio."""
    window = getattr(llm.get_decoder().config, "sliding_window", None)
    return window is None or window >= N + M


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
@each_case_and_backend
@torch.no_grad()
def test_it_is_the_stock_model_with_its_audio_rows_reset(family, backend, side, plain):
    llm, chat = tiny(family, backend), Conversation(side)
    if not without_window(llm):
        pytest.skip("windows count text only, which the oracle's rows do not tell apart")
    expected = chat.oracle(llm)
    attach(llm, plain=plain)
    chat.check(llm(**chat.text, audio=chat.audio()).logits, expected)
    # One by one is the same as in a batch.
    for row in range(3):
        valid, heard = chat.mask[row].bool(), chat.audio_mask[row]
        alone = AudioContext(
            chat.features[row, heard][None],
            torch.ones(1, int(heard.sum()), dtype=torch.bool),
            places=PLACES[row, heard][None],
        )
        logits = llm(input_ids=chat.ids[row, valid][None], audio=alone).logits[0]
        error = (logits - expected[row, valid]).abs().max()
        assert error <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("side", ["left", "right"])
@each_case_and_backend
@torch.no_grad()
def test_it_is_what_the_equations_give(family, backend, side):
    llm, chat = tiny(family, backend), Conversation(side)
    if without_window(llm) and side == "left":
        pytest.skip("compared with the oracle")
    expected = []
    for row in range(3):
        heard = chat.audio_mask[row]
        ids = chat.ids[row, chat.mask[row].bool()]
        places = PLACES[row, heard].tolist()
        expected.append(lal_logits(llm, ids, chat.features[row, heard], places=places))
    attach(llm)
    logits = llm(**chat.text, audio=chat.audio()).logits
    for row in range(3):
        error = (logits[row, chat.mask[row].bool()] - expected[row]).abs().max()
        assert error <= 1e-5 * expected[row].abs().max()


@each_family
def test_gradients_are_those_of_the_oracle(family):
    llm, chat = with_lora(tiny(family)), Conversation("right")
    if not without_window(llm):
        pytest.skip("see above")
    names = [name for name, p in llm.named_parameters() if p.requires_grad]
    found = []
    for way in ("oracle", "fast", "plain", "checkpointing"):
        llm.zero_grad()
        features = chat.features.clone().requires_grad_()
        if way == "oracle":
            loss = chat.loss(chat.oracle(llm, features))
        else:
            attach(llm, plain=way == "plain")
            if way == "checkpointing":
                llm.gradient_checkpointing_enable()
                llm.train()
            audio = AudioContext(features, chat.audio_mask, places=PLACES)
            loss = chat.loss(llm(**chat.text, audio=audio, use_cache=False).logits)
        loss.backward()
        gradients = dict(llm.named_parameters())
        found.append([features.grad, *(gradients[name].grad for name in names)])
    expected, *others = found
    for other in others:
        for got, wanted in zip(other, expected, strict=True):
            assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max().clamp(min=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
@each_case_and_backend
@torch.no_grad()
def test_generation_is_that_without_a_cache(family, backend, beams):
    llm, chat = attach(tiny(family, backend)), Conversation("left")
    options = {"max_new_tokens": 4, "num_beams": beams, "do_sample": False, "pad_token_id": 0}
    audio = chat.audio()
    expected = llm.generate(**chat.text, audio=audio, use_cache=False, **options)
    assert torch.equal(llm.generate(**chat.text, audio=audio, **options), expected)
    kept = precompute(llm, audio)
    assert torch.equal(llm.generate(**chat.text, audio=kept, **options), expected)


@each_case_and_backend
@torch.no_grad()
def test_a_turn_behind_a_cache_is_what_the_whole_conversation_gives(family, backend):
    """The first turn is read with its clips, the second one with one clip more."""
    llm, chat = attach(tiny(family, backend)), Conversation("left")
    whole = llm(**chat.text, audio=chat.audio()).logits
    cut = 5  # columns; no clip of the first row stands behind it before its fifth token
    read_tokens = chat.mask[:, :cut].sum(1, keepdim=True)
    before = read_tokens > PLACES
    first = AudioContext(chat.features, chat.audio_mask & before, places=PLACES)
    read = llm(
        input_ids=chat.ids[:, :cut], attention_mask=chat.mask[:, :cut], audio=first, use_cache=True
    )
    later = llm(
        input_ids=chat.ids[:, cut:],
        attention_mask=chat.mask,
        audio=chat.audio(),
        past_key_values=read.past_key_values,
    )
    chat.check(torch.cat([read.logits, later.logits], 1), whole)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_family
def test_one_clip_serves_any_place(family, dtype):
    """Keys are kept before rotation: what is used anywhere is, bit for bit, what is computed."""
    llm = attach(tiny(family).to(dtype))
    chat = Conversation("right")
    features = chat.features.to(dtype)
    clip = precompute(llm, AudioContext(features, chat.audio_mask))
    for places in (None, PLACES):
        made = AudioContext(features, chat.audio_mask, places=places)
        used = replace(clip, places=places, positions=made.positions)
        got, wanted = (llm(**chat.text, audio=audio).logits for audio in (used, made))
        assert torch.equal(got[chat.mask.bool()], wanted[chat.mask.bool()])


@torch.no_grad()
def test_cross_attention_sees_the_clips_in_front_of_a_token():
    llm, chat = tiny("llama"), Conversation("left")
    torch.manual_seed(0)
    blocks = flamingo.attach(llm, [0, 1])
    for block in blocks.values():
        torch.nn.init.constant_(block.gate_attention, 1.0)
    plain = llm(**chat.text).logits
    got = llm(**chat.text, cross_audio=chat.audio()).logits
    for row in range(3):
        valid = chat.mask[row].bool()
        ids = chat.ids[row, valid][None]
        for i in range(int(valid.sum())):
            seen = chat.audio_mask[row] & (PLACES[row] <= i)
            if not seen.any():
                assert torch.allclose(got[row, valid][i], plain[row, valid][i], atol=1e-5)
        # The last token of each prefix, if all clips of the prefix stood in front: not the same,
        # since earlier tokens would see them; of one layer it is.
        assert not torch.allclose(got[row, valid], plain[row, valid], atol=1e-3)
        alone = AudioContext(
            chat.features[row, chat.audio_mask[row]][None],
            torch.ones(1, int(chat.audio_mask[row].sum()), dtype=torch.bool),
            places=PLACES[row, chat.audio_mask[row]][None],
        )
        one = llm(input_ids=ids, cross_audio=alone).logits[0]
        assert torch.allclose(got[row, valid], one, atol=1e-5)


@torch.no_grad()
def test_one_layer_of_cross_attention_by_hand():
    llm, chat = tiny("llama"), Conversation("right")
    torch.manual_seed(0)
    block = flamingo.attach(llm, [0])["0"]
    torch.nn.init.constant_(block.gate_attention, 1.0)
    hidden, index = torch.randn(3, N, WIDTH), torch.arange(N).expand(3, N)
    got = block(hidden, chat.audio().seen_from(index))
    for row in range(3):
        for i in range(N):
            seen = chat.audio_mask[row] & (PLACES[row] <= i)
            one = hidden[row : row + 1, i : i + 1]
            if seen.any():
                count = int(seen.sum())
                heard = AudioContext(
                    chat.features[row, seen][None], torch.ones(1, count, dtype=torch.bool)
                )
                assert torch.allclose(got[row, i], block(one, heard)[0, 0], atol=1e-5)


@torch.no_grad()
def test_a_backend_that_cannot_is_refused_by_name():
    from pal_plugin.attention.backends import flash

    chat = Conversation("left")
    with pytest.raises(ValueError, match="flash_attention_2 takes audio in front of the text only"):
        flash(None, *(torch.zeros(3, 1, N, 4),) * 3, None, chat.audio(), None)
