"""transformers' interface over `AudioLLM`: the same weights, answers and losses, both ways."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError
from pal_plugin.models.context_length import ContextLengthError

TYPES = ["lal", "plits", "pal", "flamingo"]


def tensors_of(processor, conversations, **kwargs):
    return processor.apply_chat_template(conversations, tokenize=True, return_dict=True, **kwargs)


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("model_type", ["pal", *(pytest.param(t, marks=pytest.mark.slow)
                                                 for t in TYPES if t != "pal")])  # fmt: skip
def test_answers_and_losses_are_those_of_audio_llm(tiny_config, talks, answered, model_type):
    torch.manual_seed(0)
    ours = AudioLLM.from_config(tiny_config(model_type)).eval()
    model = PalForConditionalGeneration.of(ours)
    processor = model.processor()
    made = tensors_of(processor, talks)
    out = model.generate(**made, max_new_tokens=2)
    width = made["input_ids"].shape[1]
    assert torch.equal(out[:, :width], made["input_ids"])
    said = processor.batch_decode(out[:, width:], skip_special_tokens=True)
    expected = ours.generate({"messages": talks}, max_new_tokens=2)
    assert [text.strip() for text in said] == expected
    loss = model(**tensors_of(processor, answered, return_labels=True)).loss
    assert torch.equal(loss, ours({"messages": answered})["loss"])


def test_beyond_the_context_is_an_error(tiny_config, talks, answered):
    model = PalForConditionalGeneration.of(AudioLLM.from_config(tiny_config("lal")).eval())
    processor = model.processor()
    prompts = tensors_of(processor, talks)
    inputs = model.audio_llm.prompts({"messages": talks})
    limit = max(map(sum, zip(*inputs.count(), strict=True))) + 2
    model.audio_llm.decoder.config.max_position_embeddings = limit
    model.generate(**prompts, max_new_tokens=2)
    with pytest.raises(ContextLengthError, match=f"is 1 more than the LLM's context of {limit}"):
        model.generate(**prompts, max_new_tokens=3)
    with pytest.raises(ContextLengthError, match=f"context of {limit} tokens: row 0 has"):
        model(**tensors_of(processor, answered, return_labels=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "llm"),
    [("lal", "frozen"), ("pal", "lora"), ("plits", "full"), ("flamingo", "lora")],
)
def test_folders_of_both_classes_are_read_by_both(stored, answered, tmp_path, model_type, llm):
    ours, folder = stored(model_type, llm=llm)
    model = PalForConditionalGeneration.from_pretrained(folder)
    assert not model.training
    same_weights(model.audio_llm, ours)
    model.save_pretrained(tmp_path / "there")
    same_weights(AudioLLM.from_pretrained(tmp_path / "there"), ours)
    there, here = (load_file(path / "model.safetensors") for path in (tmp_path / "there", folder))
    assert all(torch.equal(there[name], here[name]) for name in here)
    loss = ours({"messages": answered})["loss"]
    made = tensors_of(model.processor(), answered, return_labels=True)
    assert torch.equal(model(**made).loss, loss)


@pytest.mark.slow
def test_a_training_run_becomes_a_folder_and_comes_back(stored, tmp_path):
    ours, _ = stored("pal", llm="lora")
    ours.save_checkpoint(tmp_path / "run" / "checkpoint_best")
    torch.manual_seed(0)  # of the tiny encoders, which have no checkpoint
    model = PalForConditionalGeneration.from_run(tmp_path / "run")
    model.save_pretrained(tmp_path / "folder")
    same_weights(AudioLLM.from_pretrained(tmp_path / "folder"), model.audio_llm)
    same_weights(AudioLLM.from_pretrained(tmp_path / "folder"), ours)


@pytest.mark.slow
def test_whole_needs_nothing_else(stored, answered, tiny_llm, tmp_path):
    ours, folder = stored("lal")
    model = PalForConditionalGeneration.from_pretrained(folder)
    model.save_pretrained(tmp_path / "whole", whole=True)
    assert (tmp_path / "whole" / "llm" / "model.safetensors").is_file()
    assert tiny_llm not in (tmp_path / "whole" / "config.json").read_text()
    again = PalForConditionalGeneration.from_pretrained(tmp_path / "whole")
    same_weights(again.audio_llm, ours)
    again.save_pretrained(tmp_path / "again")
    same_weights(AudioLLM.from_pretrained(tmp_path / "again"), ours)
    adapted = PalForConditionalGeneration.from_pretrained(stored("lal", llm="lora")[1])
    with pytest.raises(CheckpointError, match="merge_lora"):
        adapted.save_pretrained(tmp_path / "x", whole=True)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
def test_a_batch_is_the_same_one_by_one(stored, talks, model_type):
    model = PalForConditionalGeneration.from_pretrained(stored(model_type)[1])
    processor = model.processor()
    for side in ("left", "right"):
        made = tensors_of(processor, talks, padding_side=side)
        together = model(**made).logits
        assert together.dtype == torch.float32
        for row, talk in enumerate(talks):
            alone = model(**tensors_of(processor, [talk])).logits[0]
            mine = together[row][made["attention_mask"][row].bool()]
            assert torch.allclose(mine, alone, atol=1e-4)


@pytest.mark.slow
def test_generate_takes_transformers_arguments(stored, talks):
    model = PalForConditionalGeneration.from_pretrained(stored()[1])
    processor = model.processor()
    made = tensors_of(processor, talks)
    width = made["input_ids"].shape[1]
    assert model.generation_config.max_new_tokens == 48
    greedy = model.generate(**made, max_new_tokens=3)
    assert torch.equal(model.generate(**made, max_length=width + 3), greedy)
    config = GenerationConfig(max_new_tokens=3, eos_token_id=model.audio_llm.text.end_ids,
                              pad_token_id=model.audio_llm.text.pad_id)  # fmt: skip
    assert torch.equal(model.generate(**made, generation_config=config), greedy)
    beams = model.generate(**made, max_new_tokens=3, num_beams=2, num_return_sequences=2)
    assert torch.equal(beams[::2, :width], made["input_ids"])
    assert len(beams) == 6
    full = model.generate(**made, max_new_tokens=3, return_dict_in_generate=True,
                          output_scores=True)  # fmt: skip
    assert torch.equal(full.sequences, greedy)
    assert len(full.scores) == greedy.shape[1] - width
    with pytest.raises(ValueError, match="not_an_argument"):
        model.generate(**made, not_an_argument=1)
    with pytest.raises(ValueError, match="padded on the right"):
        model.generate(**tensors_of(processor, talks, padding_side="right"))
    with pytest.raises(ValueError, match="expected input_ids"):
        model.generate()


def test_attention_is_the_llms_and_unknown_arguments_are_errors(tiny_config, tmp_path):
    model = PalForConditionalGeneration.of(AudioLLM.from_config(tiny_config("lal")))
    llm, clap = model.audio_llm.llm.config, model.audio_llm.encoders["clap"]
    encoders = [m.config._attn_implementation for m in clap.modules() if hasattr(m, "config")]
    assert model.config._attn_implementation == llm._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")  # CLAP has no "sdpa" to be set back to
    model.set_attn_implementation("sdpa")
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == llm._attn_implementation == "eager"
    assert encoders == [m.config._attn_implementation for m in clap.modules()
                        if hasattr(m, "config")]  # fmt: skip
    with pytest.raises(ValueError, match="expected the name of the LLM's"):
        model.set_attn_implementation({"text_config": "eager"})
    ids = torch.ones((1, 3), dtype=torch.long)
    with pytest.raises(ValueError, match="forward does not know output_attentions, position_ids"):
        model(ids, output_attentions=True, position_ids=torch.zeros_like(ids))
    assert model(ids, output_attentions=False, use_cache=None).logits.shape[:2] == ids.shape
    with pytest.raises(CheckpointError, match="expected a folder or owner/name"):
        PalForConditionalGeneration.from_pretrained(None, config=model.config)
    whole = {name: torch.stack([value, value]) for name, value in model.named_parameters()}
    with pytest.raises(ValueError, match=r"parameters are shards.*FSDP2: pal train"):
        model.save_pretrained(tmp_path, state_dict=whole)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_transformers_asks_a_model_for(stored, answered):
    model = PalForConditionalGeneration.from_pretrained(stored(llm="lora")[1], dtype="bfloat16")
    llm = model.audio_llm.llm
    assert llm.dtype == torch.bfloat16
    assert model.get_input_embeddings() is llm.get_input_embeddings()
    assert model.get_output_embeddings() is llm.get_output_embeddings()
    assert model.can_generate()
    with pytest.raises(NotImplementedError, match="no tokens of their own"):
        model.resize_token_embeddings(10)
    made = tensors_of(model.processor(), answered, return_labels=True)
    whole = model(**made.to(dtype=torch.bfloat16))
    assert whole.logits.shape[:2] == made["input_ids"].shape
    count = (made["labels"][:, 1:] != -100).sum()
    part = model(**made, num_items_in_batch=2 * count)
    assert torch.allclose(part.loss, whole.loss / 2)
    model.train()
    trained = model(**made)
    assert trained.logits is None
    assert model(**made, return_dict=False)[0].ndim == 0
    trained.loss.backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**made).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, plain[name], rtol=0.05, atol=1e-3), name
    model.gradient_checkpointing_disable()


@pytest.mark.slow
def test_weights_of_our_files_are_loaded_or_missing_by_name(stored, tmp_path):
    ours, folder = stored("lal", llm="lora")
    model = PalForConditionalGeneration.from_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    model.load_state_dict(state, strict=False)  # as Trainer calls it: frozen weights are not there
    same_weights(model.audio_llm, ours)
    state = {name: tensor for name, tensor in state.items() if ".lora_" not in name}
    with pytest.raises(CheckpointError, match=r"lack .*lora_A"):
        model.load_state_dict(state, strict=False)
