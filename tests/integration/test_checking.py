"""`check_family`: right entries pass, wrong ones do not, unlisted LLMs are tried on the spot."""

import copy
import inspect

import pytest
import torch
import transformers
from checks import Batch, close, differ, each_case_and_backend, tiny
from families import COMMON, NEWER, VOCAB, WIDTH, build
from families import FAMILIES as TESTED
from packaging.version import Version
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from pal_plugin.attention.attached import attached
from pal_plugin.integration import AudioContext, attach, check_family, detach
from pal_plugin.llm.families import FAMILIES, Family, proposed

SMALL = {**COMMON, "num_hidden_layers": 4}
#: Not in `FAMILIES`; what their modules suggest is right.
RIGHT = {
    "cohere": {},
    "olmo": {},
    "glm": {},
    "glm4": {},
    "ernie4_5": {},
    "seed_oss": {},
    "arcee": {},
    "starcoder2": {},
    "apertus": {},
    "helium": {"head_dim": 8},
    "olmo3": {"sliding_window": 3},
}
if Version(transformers.__version__).major < 5:
    del RIGHT["olmo3"]  # whose rotary embedding was one for each kind of layer

#: ... and what LAL would make of these is wrong, or nothing at all.
WRONG = {
    "nemotron": {},  # deaf: the layer passes no keyword arguments on
    "stablelm": {"partial_rotary_factor": 1.0},  # deaf too
    "cohere2": {"sliding_window": 64},  # only windows rotate
    "exaone4": {},
    "hunyuan_v1_dense": {"head_dim": 8},  # a norm behind the rotary embedding
    "lfm2": {},  # convolutions
    "minimax": {},  # linear attention
    "diffllama": {},
    "phi": {},
    "gpt2": {},
    "mamba": {},
}
DEFAULT = ("cohere", "glm", "nemotron", "cohere2", "lfm2", "gpt2")


def some(names):
    return [
        pytest.param(n, marks=[] if n in DEFAULT else pytest.mark.slow)
        for n in names
        if n in CONFIG_MAPPING
    ]


def unlisted(name, **special):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **SMALL, **special)).eval()
    with torch.no_grad():
        for parameter in llm.parameters():
            noise = torch.randn(parameter.shape)
            if parameter.dim() == 1:
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(0.25 * noise)
    return llm


def traces(llm):
    return [set(module.__dict__) for module in llm.modules()], llm.training


def reset_stock(llm, audio, ids):
    """LAL by definition, from the whole model and without anything of this package."""
    m = audio.shape[1]

    def reset(_, args, kwargs):
        if args:
            return (torch.cat([audio, args[0][:, m:]], 1), *args[1:]), kwargs
        hidden = torch.cat([audio, kwargs["hidden_states"][:, m:]], 1)
        return args, {**kwargs, "hidden_states": hidden}

    hooks = [
        layer.register_forward_pre_hook(reset, with_kwargs=True)
        for layer in llm.get_decoder().layers
    ]
    embeds = torch.cat([audio, llm.get_input_embeddings()(ids)], 1)
    logits = llm(inputs_embeds=embeds, use_cache=False).logits[:, m:]
    for hook in hooks:
        hook.remove()
    return logits


def test_every_entry_has_a_tiny_model_here():
    known = {kind for kind, _ in TESTED.values()} | set(NEWER)
    assert {kind for kind in FAMILIES if kind in CONFIG_MAPPING} == known


@each_case_and_backend
def test_every_entry_is_right(family, backend):
    llm = tiny(family, backend).train()
    before = traces(llm)
    assert check_family(llm) < 1e-5
    assert traces(llm) == before
    assert check_family(attach(llm)) < 1e-5


@each_case_and_backend
def test_the_modules_suggest_the_entry(family, backend):
    llm = tiny(family, backend)
    assert proposed(llm) == FAMILIES[llm.config.model_type]


@pytest.mark.parametrize(
    ("family", "entry"),
    [
        ("llama", Family(norm=None)),
        ("llama", Family(norm="post_attention_layernorm")),
        ("qwen3", Family()),
        ("gemma", Family()),
        ("olmo2", Family(norm=None)),
    ],
)
def test_a_wrong_entry_is_not_taken(family, entry):
    llm = tiny(family)
    before = traces(llm)
    with pytest.raises(TypeError, match="would be silently wrong for"):
        check_family(llm, entry)
    assert traces(llm) == before


@torch.no_grad()
@pytest.mark.parametrize("name", some(RIGHT))
def test_an_unlisted_llm_that_is_right_hears(name):
    llm = unlisted(name, **RIGHT[name])
    generator = torch.Generator().manual_seed(1)
    n, m = 5, 4
    audio = torch.randn(2, m, WIDTH, generator=generator)
    ids = torch.randint(1, VOCAB, (2, n), generator=generator)
    if name != "olmo3":  # whose windows hide the audio from the stock model
        expected = reset_stock(llm, audio, ids)
        context = AudioContext(audio, torch.ones(2, m, dtype=torch.bool))
        close(attach(llm)(input_ids=ids, audio=context).logits, expected, 1e-4)
        differ(llm(input_ids=ids).logits, expected)
    batch = Batch("left")
    attach(llm)
    rows = llm(**batch.text, audio=batch.audio()).logits
    for row in range(2):
        alone = AudioContext(batch.heard(row)[None], torch.ones(1, len(batch.heard(row))).bool())
        ids = batch.ids[row, batch.valid(row)][None]
        close(rows[row, batch.valid(row)], llm(input_ids=ids, audio=alone).logits[0], 1e-4)


@pytest.mark.parametrize("name", some([*WRONG, *NEWER]))
def test_an_unlisted_llm_that_would_be_wrong_is_refused(name):
    llm = unlisted(name, **WRONG.get(name, {}))
    before = traces(llm)
    with pytest.raises(TypeError, match=f"{name!r}"):
        attach(llm)
    assert traces(llm) == before


def test_an_entry_that_somebody_adds_is_checked(monkeypatch):
    monkeypatch.setitem(FAMILIES, "nemotron", Family())
    with pytest.raises(TypeError, match="'nemotron'"):
        attach(unlisted("nemotron"))
    monkeypatch.setitem(FAMILIES, "cohere", Family())
    assert attach(unlisted("cohere"))


def test_scales_that_are_not_known_are_refused(monkeypatch):
    """As if nobody had told `embedding_scale` and `logits_of` of Granite's."""
    from pal_plugin.integration import checking

    llm = build("granite", "sdpa")
    monkeypatch.setattr(checking.families, "embedding_scale", lambda _: 1.0)
    with pytest.raises(TypeError, match="changes its embeddings"):
        check_family(llm)
    monkeypatch.undo()
    monkeypatch.setattr(checking, "logits_of", lambda m, h: m.get_output_embeddings()(h))
    with pytest.raises(TypeError, match="changes its logits"):
        check_family(llm)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["qwen3", "gemma"])
def test_half_precision_is_judged_in_float32(family, dtype):
    llm = tiny(family).to(dtype)
    before = copy.deepcopy(llm.state_dict())
    assert check_family(llm) < 1e-5
    assert all(torch.equal(llm.state_dict()[name], before[name]) for name in before)
    with pytest.raises(TypeError, match="silently wrong"):
        check_family(llm, Family())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_that_hardly_chooses_hides_nothing(dtype):
    """Initialised as transformers does it all weights are nearly alike; and one number may be
    much larger than what a layer adds to it."""
    wrong = "cohere2" if "cohere2" in CONFIG_MAPPING else "nemotron"
    config = AutoConfig.for_model(wrong, **SMALL, **WRONG[wrong])
    with pytest.raises(TypeError, match="silently wrong"):
        attach(AutoModelForCausalLM.from_config(config).to(dtype))
    deaf = AutoModelForCausalLM.from_config(AutoConfig.for_model("nemotron", **SMALL)).to(dtype)
    with torch.no_grad():
        deaf.get_input_embeddings().weight[:, 3] = 20
    with pytest.raises(TypeError, match="'nemotron'"):
        attach(deaf)


def test_without_weights_the_check_waits_for_audio():
    context = AudioContext(torch.randn(1, 4, WIDTH), torch.ones(1, 4, dtype=torch.bool))
    for name, right in (("cohere2", False), ("cohere", True)):
        loaded = unlisted(name, **WRONG.get(name, {}))
        with torch.device("meta"):
            llm = attach(AutoModelForCausalLM.from_config(loaded.config)).eval()
        llm.load_state_dict(loaded.state_dict(), assign=True)
        llm.model.rotary_emb = loaded.model.rotary_emb
        for _, adapter in attached(llm.model, "audio").adapters:
            object.__setattr__(adapter, "rotary", loaded.model.rotary_emb)
        ids = torch.tensor([[1, 2, 3]])
        if right:
            llm(input_ids=ids, audio=context)
            continue
        for _ in range(2):
            with pytest.raises(TypeError, match="silently wrong for 'cohere2'"):
                llm(input_ids=ids, audio=context)
        llm(input_ids=ids)


def test_offloaded_weights():
    """accelerate brings weights when a module is called."""
    accelerate = pytest.importorskip("accelerate")
    for family in ("llama", "gemma", "phi3"):
        llm = attach(tiny(family))
        batch = Batch("left")
        expected = llm(**batch.text, audio=batch.audio()).logits
        offloaded = accelerate.cpu_offload(llm, torch.device("cpu"))
        with torch.no_grad():
            close(offloaded(**batch.text, audio=batch.audio()).logits, expected)
    with pytest.raises(TypeError, match="before they are offloaded"):
        attach(accelerate.cpu_offload(unlisted("cohere"), torch.device("cpu")))


def test_checkpointing_stays_as_it_was():
    llm = tiny("llama").train()
    llm.gradient_checkpointing_enable({"use_reentrant": True})
    check_family(llm)
    layer = llm.model.layers[0]
    assert layer.gradient_checkpointing
    assert layer._gradient_checkpointing_func.keywords["use_reentrant"]


def test_a_refused_llm_is_whole_and_can_be_attached_later():
    llm = unlisted("cohere2" if "cohere2" in CONFIG_MAPPING else "nemotron", **WRONG["cohere2"])
    plain = copy.deepcopy(llm)
    with pytest.raises(TypeError):
        attach(llm)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(llm(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert "generate" not in llm.__dict__
    assert inspect.ismethod(llm.gradient_checkpointing_enable)
    assert detach(llm) is llm
