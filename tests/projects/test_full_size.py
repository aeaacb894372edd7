"""The paper's recipes at full size: what each stage trains, and one real step of each variant."""

from copy import deepcopy
from functools import cache
from itertools import permutations

import pytest
import torch

from pal_plugin.config.recipes import find_recipes, parts, train_command
from pal_plugin.config.run_config import load_config
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.stages import component_of
from pal_plugin.planning import shapes
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.utils.hub import HubError

#: LLM -> (layers, parameters, numbers of LoRA of rank 8 in a layer's attention, in its FFN).
LLMS = {
    "llama3.2_1b": (16, 1_235_814_400, 8 * 4 * 2048 + 8 * 2 * 2560, 8 * 3 * (2048 + 8192)),
    "llama3.2_3b": (28, 3_212_749_824, 8 * 4 * 3072 + 8 * 2 * 4096, 8 * 3 * (3072 + 8192)),
    "qwen2.5_1.5b": (28, 1_543_714_304, 8 * 4 * 1536 + 8 * 2 * 1792, 8 * 3 * (1536 + 8960)),
}
#: Variant -> what its groups are routed by.
VARIANTS = {
    "plits": {"general": "plits"},
    "plits_qformer": {"general": "plits"},
    "plits_speech": {"general": "plits", "speech": "plits"},
    "lal": {"general": "lal"},
    "lal_frozen_ffn": {"general": "lal"},
    "lal_delayed": {"general": "lal"},
    "pal": {"general": "lal", "speech": "plits"},
    "pal_summary": {"general": "lal", "summary": "plits"},
    "flamingo": {"general": "flamingo"},
}
RECIPES = [(llm, variant, stage) for llm in LLMS for variant in VARIANTS for stage in (1, 2, 3)]


@cache
def resolved(llm, variant, stage):
    return load_config(find_recipes([f"stage{stage}", llm, variant])).to_dict()


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    monkeypatch.setenv("PAL_DATA", "data")


@pytest.fixture
def no_hub(monkeypatch):
    def unreachable(name, patterns):
        raise HubError(f"cannot fetch {name!r}.")

    monkeypatch.setattr(shapes, "snapshot", unreachable)


def test_the_parts_make_these_recipes_and_no_others():
    assert parts("LLM") == sorted(LLMS)
    assert parts("variant") == sorted(VARIANTS)
    assert parts("stage") == ["stage1", "stage2", "stage3"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_the_parts_does_not_matter(order):
    names = ["stage2", "llama3.2_1b", "pal_summary"]
    config = load_config(find_recipes([names[i] for i in order])).to_dict()
    assert config == resolved("llama3.2_1b", "pal_summary", 2)


def test_the_name_of_a_recipe_says_how_to_train_it():
    for llm, variant, stage in RECIPES[::10]:  # of all LLMs and stages, and most variants
        name = f"{llm}_{variant}_stage{stage}"
        assert train_command(name) == f"pal train stage{stage} {llm} {variant}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interruption_costs_some_steps_and_not_an_epoch(recipe):
    assert resolved(*recipe)["run"]["save_every"] == 500


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_stages_follow_each_other(llm, variant):
    one, two, three = (resolved(llm, variant, stage) for stage in (1, 2, 3))
    assert [c["run"]["name"] for c in (one, two, three)] == [
        f"{llm}_{variant}_stage{stage}" for stage in (1, 2, 3)
    ]
    assert one["model"]["checkpoint"] is None
    for before, after in ((one, two), (two, three)):
        assert after["model"]["checkpoint"] == f"latest:{before['run']['name']}"
        same = ("encoders", "connectors", "routing", "llm")
        assert {k: before["model"][k] for k in same} == {k: after["model"][k] for k in same}
    assert one["datasets"].keys() == {"pal_openaqa", "pal_audiocaps", "pal_clotho"}
    assert one["datasets"] == two["datasets"]
    assert three["datasets"].keys() == {"pal_gama"}
    routes = {g: r["integration"] for g, r in one["model"]["routing"].items()}
    assert routes == VARIANTS[variant]
    layers = one["model"]["routing"]["general"]["layers"]
    if variant in ("lal_delayed", "pal_summary"):
        half = LLMS[llm][0] // 2
        later = list(range(half, 2 * half))
        assert layers == (later if variant == "lal_delayed" else list(range(1, 2 * half, 2)))
    else:
        assert layers is None


def check_what_is_trained(llm, variant, stage):
    layers, of_llm, attention, ffn = LLMS[llm]
    parameters = build_skeleton(resolved(llm, variant, stage)["model"]).parameters()
    trained = {name for name, (trainable, _) in parameters.items() if trainable}
    expected = {f"connectors.{group}" for group in VARIANTS[variant]}
    expected |= {f"gains.{group}" for group, way in VARIANTS[variant].items() if way == "lal"}
    expected |= {"cross_attention"} if variant == "flamingo" else set()
    expected |= {"llm.lora"} if stage > 1 else set()
    assert trained == expected
    assert all(not frozen for name, (_, frozen) in parameters.items() if name in expected)
    assert parameters["llm"] == (0, of_llm)
    assert parameters["encoders.sslam"] == (0, 85_254_144)
    assert parameters["encoders.clap"][0] == 0
    assert ("encoders.whisper" in parameters) == ("speech" in VARIANTS[variant])
    if stage > 1:
        per_layer = attention + (0 if variant == "lal_frozen_ffn" else ffn)
        assert parameters["llm.lora"] == (layers * per_layer, 0)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("variant", ["pal_summary", "lal_frozen_ffn"])
def test_what_a_stage_trains(no_hub, variant, stage):
    check_what_is_trained("llama3.2_1b", variant, stage)


@pytest.mark.slow
@pytest.mark.parametrize(("llm", "variant", "stage"), RECIPES)
def test_what_every_recipe_trains(no_hub, llm, variant, stage):
    check_what_is_trained(llm, variant, stage)


@pytest.fixture(scope="module")
def deep_llm(tiny_llm, tmp_path_factory):
    """The tiny LLM with as many layers as Llama 3.2 1B, which recipes name by number."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("deep_llm")
    config = LlamaConfig.from_pretrained(tiny_llm)
    config.num_hidden_layers = 16
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(path)
    return str(path)


def shrunk(section, llm, tiny_encoders):
    """The same model of the same parts, each as small as it can be."""
    section = deepcopy(section)
    section |= {"checkpoint": None, "llm": {"path": llm}}
    section["encoders"] = {name: tiny_encoders[name] for name in section["encoders"]}
    small = {
        "lfst": {"grid": [4, 4], "width": 16, "heads": 2, "layers": 1},
        "qformer": {"hidden": 16, "heads": 2, "layers": 2},
        "mlp": {},
    }
    for connector in section["connectors"].values():
        connector["args"] = {**connector["args"], **small[connector["type"]]}
    return section


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_step(variant, stage, deep_llm, tiny_config, two_clips):
    tiny_encoders = tiny_config("pal")["encoders"]
    section = shrunk(resolved("llama3.2_1b", variant, stage)["model"], deep_llm, tiny_encoders)
    torch.manual_seed(0)
    model = AudioLLM.from_config(section).train()
    for block in model.cross_attention.values():  # fresh gates let nothing through
        torch.nn.init.constant_(block.gate_attention, 0.5)
        torch.nn.init.constant_(block.gate_ffn, 0.5)
    loss = model(two_clips)["loss"]
    assert loss.isfinite()
    loss.backward()
    moved = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if parameter.grad.any():
                moved.add(component_of(name))
        else:
            assert parameter.grad is None, name
    expected = {f"connectors.{group}" for group in VARIANTS[variant]}
    expected |= {f"gains.{group}" for group, way in VARIANTS[variant].items() if way == "lal"}
    expected |= {"cross_attention"} if variant == "flamingo" else set()
    expected |= {"llm.lora"} if stage == 2 else set()
    assert moved == expected


def test_an_early_layer_does_not_hear_what_comes_later(deep_llm, tiny_config, two_clips):
    """`lal_delayed`: hidden states before the first layer that hears are those of the text."""
    tiny_encoders = tiny_config("pal")["encoders"]
    section = shrunk(resolved("llama3.2_1b", "lal_delayed", 1)["model"], deep_llm, tiny_encoders)
    model = AudioLLM.from_config(section).eval()
    seen = {}
    layers = model.llm.get_decoder().layers
    for index in (7, 8):
        layers[index].register_forward_hook(
            lambda _m, _a, out, index=index: seen.setdefault(index, []).append(out)
        )
    deaf = torch.zeros(2, dtype=torch.bool)
    with torch.no_grad():
        model(two_clips)
        model({**two_clips, "audio_mask": deaf})
    hidden = {i: [o[0] if isinstance(o, tuple) else o for o in both] for i, both in seen.items()}
    torch.testing.assert_close(hidden[7][0][0, :5], hidden[7][1][0, :5])
    assert not torch.allclose(hidden[8][0][0, :5], hidden[8][1][0, :5])
