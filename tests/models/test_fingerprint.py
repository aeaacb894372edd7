"""What an AudioKV depends on, in one hash."""

import torch


def test_the_hash_covers_what_makes_keys_and_values_only(tiny_model):
    model = tiny_model("lal")
    before = model.fingerprint()
    torch.nn.init.normal_(model.llm.model.layers[0].mlp.up_proj.weight)
    torch.nn.init.normal_(model.llm.model.layers[0].self_attn.q_proj.weight)
    assert model.fingerprint() == before
    torch.nn.init.normal_(model.llm.model.layers[0].self_attn.v_proj.weight)
    assert model.fingerprint() != before
    before = model.fingerprint()
    model.encoders["sslam"].pos_embed.add_(1.0)  # computed, and in no state dict
    assert model.fingerprint() != before


def test_settings_count_as_weights_do(tiny_model):
    model = tiny_model("lal", llm="lora")
    before = model.fingerprint()
    assert len(before) == 64
    assert tiny_model("lal", llm="lora").fingerprint() == before  # equal weights
    assert tiny_model("plits", llm="lora").fingerprint() != before  # another routing
    projection = model.decoder.layers[0].self_attn.v_proj
    projection.scaling["default"] *= 2  # of the adapters
    assert model.fingerprint() != before
