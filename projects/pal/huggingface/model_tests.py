"""transformers' common model tests (`ModelTesterMixin`) on a tiny model of ours.

    python projects/pal/huggingface/model_tests.py FOLDER [options of pytest]

FOLDER is a checkout or an unpacked sdist of the installed transformers version: it holds
tests/test_modeling_common.py. The sdist lacks two files that this one imports, with the tests of
generation and of export; they are replaced by empty classes then, and the run says so. Needs
pytest and `parameterized`. Tests that do not hold are in `NOT_HELD` with the reason; the exit
status is 1 if another one fails, or if one of them holds after all.
"""

import os
import sys
import tempfile
import types
import unittest
from fnmatch import fnmatchcase
from pathlib import Path

FOLDER = "TRANSFORMERS_FOLDER"
#: Modules that test_modeling_common imports and sdists lack, with the class taken from each.
MIXINS = {
    "tests.generation.test_utils": "GenerationTesterMixin",
    "tests.exporters.test_export": "ExportTesterMixin",
}

_OUTPUTS = "forward returns loss and logits; hidden states and attentions are an error by name"
_META = "the constructor reads the LLM's weights, which a meta device has no place for"
_SOURCE = "from_pretrained reads a folder; it takes no state_dict in place of one"
_TIED = "frozen weights are stored by reference, and the LLM ties its own when it is loaded"
_VOCABULARY = "clips need no tokens: resizing is an error"
_LLM_ATTENTION = "the attention that is asked for is the LLM's; encoders keep their own"
_LLM_ONLY = "the LLM's layers are checkpointed, not those of the encoders"
#: Patterns of the names of tests that do not hold (transformers 5.24), and why.
NOT_HELD = {
    "test_all_tensors_are_parameter_or_buffer": _META,
    "test_can_be_initialized_on_meta": _META,
    "test_init_weights_can_init_buffers": _META,
    "test_attention_outputs": _OUTPUTS,
    "test_can_capture_specific_layers_hidden_states": _OUTPUTS,
    "test_capture_outputs_decorator": _OUTPUTS,
    "test_hidden_states_output": _OUTPUTS,
    "test_model_outputs_equivalence": _OUTPUTS,
    "test_retain_grad_hidden_states_attentions": _OUTPUTS,
    "test_batching_equivalence": "it cuts tensors of clips by rows, and they have one row a window",
    "test_can_set_attention_dynamically": _LLM_ATTENTION,
    "test_sdpa_can_dispatch_non_composite_models": _LLM_ATTENTION,
    "test_internal_model_config_and_subconfig_are_same": "text_config is a copy of the LLM's",
    "test_eager_matches_sdpa_inference_*": _SOURCE,
    "test_from_pretrained_no_checkpoint": _SOURCE,
    "test_model_weights_reload_no_missing_tied_weights": "a file that lacks the weights is refused",
    "test_tied_weights_keys": _TIED,
    "test_gradient_checkpointing_enable_disable": _LLM_ONLY,
    "test_peft_gradient_checkpointing_enable_disable": _LLM_ONLY,
    "test_training_gradient_checkpointing*": _LLM_ONLY,
    "test_model_base_model_prefix": "there is no base model without a head",
    "test_resize_tokens_embeddings": _VOCABULARY,
    "test_resize_embeddings_untied": _VOCABULARY,
    "test_tp_plan_matches_params": "no tensor parallelism, though the LLM's config has a plan",
    "test_generation_tester_mixin_inheritance": "the sdist lacks GenerationTesterMixin",
}


def import_mixin(folder: Path) -> type:
    """`ModelTesterMixin` of a checkout, on empty mixins where the folder lacks them."""
    for name in ("tests", "tests.generation", "tests.exporters"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    for name, mixin in MIXINS.items():
        if not folder.joinpath(*name.split(".")).with_suffix(".py").is_file():
            print(f"{name} is not in {folder}: without the tests of {mixin}")
            sys.modules[name] = types.ModuleType(name)
            setattr(sys.modules[name], mixin, type(mixin, (), {}))
    from tests.test_modeling_common import ModelTesterMixin

    return ModelTesterMixin


def tiny_section(folder: Path) -> dict:
    """A `model:` section: LAL for one encoder, PLITS for the other, a Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from pal_plugin.llm.loading import load_tokenizer
    from pal_plugin.utils.locations import resolve

    tokenizer = load_tokenizer(Path(resolve("pocket://llm")))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sslam = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    whisper = {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "max_source_positions": 64,
    }
    mlp = {"type": "mlp", "args": {"pool": 8}}
    return {
        "encoders": {
            name: {"type": name, "checkpoint": None, "features": {"window_s": 1.28}, "model": model}
            for name, model in {"sslam": sslam, "whisper": whisper}.items()
        },
        "connectors": {
            "general": {**mlp, "encoders": ["sslam"]},
            "speech": {**mlp, "encoders": ["whisper"]},
        },
        "routing": {"general": {"integration": "lal"}, "speech": {"integration": "plits"}},
        "llm": {"path": str(folder)},
        "stage": {"encoders": "full", "connectors": "full", "llm": "full"},
    }


class PalModelTester:
    """What the common tests ask for: a configuration and inputs, two clips of different lengths."""

    batch_size = 2
    is_training = True
    num_attention_heads = 4
    hidden_size = 32
    num_hidden_layers = 2

    def __init__(self, folder: Path) -> None:
        import torch

        from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration
        from pal_plugin.models.audio_llm import AudioLLM

        model = PalForConditionalGeneration.of(AudioLLM.from_config(tiny_section(folder)))
        generator = torch.Generator().manual_seed(0)
        clips = [(0.1 * torch.randn(n, generator=generator), 16_000) for n in (9_000, 30_000)]
        talks = [
            [{"role": "user", "content": [{"type": "audio", "audio": clip}, text]}]
            for clip in clips
            for text in [{"type": "text", "text": "What do you hear?"}]
        ]
        self.config = model.config
        self.inputs = model.processor().apply_chat_template(
            talks, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        self.seq_length = self.inputs["input_ids"].shape[1]

    def get_config(self):
        return self.config

    def prepare_config_and_inputs_for_common(self):
        return self.config, dict(self.inputs)


if os.environ.get(FOLDER):
    ModelTesterMixin = import_mixin(Path(os.environ[FOLDER]))

    class PalModelTest(ModelTesterMixin, unittest.TestCase):
        """The common tests."""

        @classmethod
        def setUpClass(cls):
            from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration

            cls.folder = tempfile.TemporaryDirectory()
            cls.model_tester = PalModelTester(Path(cls.folder.name))
            cls.all_model_classes = (PalForConditionalGeneration,)

        @classmethod
        def tearDownClass(cls):
            cls.folder.cleanup()

        def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
            inputs = super()._prepare_for_class(inputs_dict, model_class)
            return {**inputs, "labels": inputs["input_ids"]} if return_labels else inputs

    del ModelTesterMixin  # pytest would collect it


class Outcomes:
    """A plugin of pytest that notes which tests ran and which failed, also in a part of theirs."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.failed.add(name)
        if report.when == "call" and not report.skipped:
            self.ran.add(name)


def reason_for(name: str) -> str | None:
    """Why a test does not hold; None: it should."""
    return next((why for pattern, why in NOT_HELD.items() if fnmatchcase(name, pattern)), None)


def main(argv: list[str]) -> int:
    import pytest

    if not argv or not Path(argv[0], "tests", "test_modeling_common.py").is_file():
        sys.exit(f"{argv[:1] or ['nothing']} is no folder with tests/test_modeling_common.py")
    os.environ[FOLDER] = str(Path(argv[0]).resolve())
    found = Outcomes()
    options = ["-q", "-W", "ignore", "-rs", "--tb=line", "-p", "no:cacheprovider"]
    pytest.main([__file__, "-c", os.devnull, *options, *argv[1:]], plugins=[found])
    for name in sorted(found.failed):
        print(f"{name}: {reason_for(name) or 'FAILED, which NOT_HELD does not expect'}")
    held = sorted(name for name in found.ran - found.failed if reason_for(name))
    for name in held:
        print(f"{name}: holds, and is in NOT_HELD")
    new = [name for name in found.failed if not reason_for(name)]
    known = len(found.failed) - len(new)
    print(
        f"{len(found.ran - found.failed)} tests hold, {known} do not as expected, {len(new)} more"
    )
    return int(bool(new or held or not found.ran))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
