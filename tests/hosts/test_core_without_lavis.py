"""The core runs where salesforce-lavis is not installed."""

import subprocess
import sys

PROGRAM = """
import sys
RUN = sys.argv[1]
sys.modules["lavis"] = None  # what an absent package looks like

import torch
from transformers import LlamaConfig, LlamaForCausalLM
import pal_plugin
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.connectors import build_connector
from pal_plugin.encoders import build_encoder
from pal_plugin.integration import AudioContext, attach
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.planning.plan import make_plan
import pal_plugin.soundworld, pal_plugin.pretraining.encoders, pal_plugin.pretraining.llm

entry = {"type": "whisper", "features": {"window_s": 1.28},
         "model": {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2,
                   "encoder_ffn_dim": 16, "max_source_positions": 64}}
clip = AudioFrontend({"whisper": entry})((torch.randn(8000).numpy(), 16000))["whisper"]
encoder = build_encoder(**entry)
tokens = encoder(clip["features"], clip["frames"])
connector = build_connector("mlp", {"whisper": 16}, {"whisper": None}, 32, {"pool": 8})
llm = attach(LlamaForCausalLM(LlamaConfig(vocab_size=20, hidden_size=32, intermediate_size=32,
                                          num_hidden_layers=2, num_attention_heads=2)))
audio = AudioContext.from_tokens(connector({"whisper": tokens}))
ids = torch.tensor([[1, 2, 3]])
assert not torch.allclose(llm(input_ids=ids, audio=audio).logits, llm(input_ids=ids).logits)
model = AudioLLM.from_pretrained("lal").train()
noise = torch.randn(16000).numpy(), 16000
samples = {"audio": [noise], "text_input": ["What?"], "text_output": ["rain"]}
optimizer = torch.optim.AdamW(model.param_groups(0.01), lr=1e-3)
model(samples)["loss"].backward()
optimizer.step()
assert "connectors.general" in model.trainable_table()
model.save_checkpoint(RUN + "/checkpoint_best", epoch=0)
model.eval()
again = AudioLLM.from_run(RUN)
with torch.no_grad():
    assert torch.equal(again(samples)["loss"], model(samples)["loss"])

imported = [m for m in sys.modules if m.split(".")[0] == "lavis" and sys.modules[m] is not None]
assert not imported, imported
print("heard without lavis")
"""


def test_core_imports_and_runs_without_lavis(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "heard without lavis" in done.stdout
