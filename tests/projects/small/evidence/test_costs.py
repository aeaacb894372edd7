"""FLOPs and times of small models; ratios within rounds."""

import pytest

from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import ConfigError

WORK = Workload(2, clip_s=1.0, text=10, answer=3)


@pytest.fixture
def costs(module):
    return module("evidence.costs")


def test_ratios_are_made_within_a_round(costs):
    seconds = {
        "plits": {"step": [2.0, 4.0, 2.0], "answer": [1.0, 1.0, 1.0]},
        "lal": {"step": [1.0, 3.0, 2.0], "answer": [0.5, 0.5, 0.5]},
    }
    found = costs.ratios(seconds)
    assert found["lal"]["step"] == pytest.approx([0.75, 0.625, 0.875])
    assert found["lal"]["answer"] == [0.5, 0.5, 0.5]
    assert found["plits"]["step"] == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_small_models_in_turns(costs, tiny_config):
    sections = {kind: tiny_config(kind, llm="lora") for kind in ("plits", "lal")}
    found = costs.report(sections, WORK, rounds=2)
    plits, lal = found["types"]["plits"], found["types"]["lal"]
    assert found["workload"]["clips"] == 2
    assert lal["step_flops"] < plits["step_flops"]
    assert lal["answer_flops"] < plits["answer_flops"]
    assert lal["encoders_flops"] == plits["encoders_flops"] > 0
    assert lal["audio_tokens"] == plits["audio_tokens"] > 0
    assert plits["times"]["step"] == plits["times"]["answer"] == [1.0, 1.0, 1.0]
    assert all(low <= median <= high for median, low, high in lal["times"].values())
    assert "times" not in costs.report({"lal": sections["lal"]}, WORK, 0)["types"]["lal"]
    with pytest.raises(ConfigError, match="ratios to plits"):
        costs.report({"lal": sections["lal"]}, WORK, 1)


def test_a_step_leaves_weights_and_encoders_as_they_are(costs, tiny_model):
    model = tiny_model("lal", llm="lora")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoders = [encoder.forward for encoder in model.encoders.values()]
    costs._step(model, WORK)()
    assert [encoder.forward for encoder in model.encoders.values()] == encoders
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
