"""Messages as tensors: what `AudioLLM` reads of them, places and labels."""

import io
from pathlib import Path

import pytest
import soundfile
import torch

from pal_plugin.hosts.huggingface.processing import PalProcessor
from pal_plugin.llm.loading import load_tokenizer
from pal_plugin.models.conversations import gather
from pal_plugin.models.interchange import processor_facts


@pytest.fixture
def processor(tiny_llm, tiny_config):
    facts = processor_facts(tiny_config("lal"), "front")
    facts.pop("processor_class")
    return PalProcessor(load_tokenizer(Path(tiny_llm)), **facts)


def test_the_ids_and_places_are_those_of_audio_llm(processor, talks):
    made = processor.apply_chat_template(
        talks, tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
    )
    read = gather(processor.text, talks, "front")
    for row, ids in enumerate(read.ids):
        assert made["attention_mask"][row].sum() == len(ids)
        assert made["input_ids"][row, -len(ids) :].tolist() == ids  # padded on the left
    assert torch.equal(made["pal_clip_index"], read.places.index)
    assert torch.equal(made["pal_clip_places"], read.places.places)
    assert made["pal_windows_whisper"].tolist() == [1, 2]  # the clip that two rows share, once
    assert set(made) == set(processor.model_input_names)
    moved = made.to("cpu", dtype=torch.bfloat16)
    assert moved["pal_features_whisper"].dtype == torch.bfloat16
    assert moved["pal_frames_whisper"].dtype == torch.long


def test_labels_are_the_answers(processor, answered):
    made = processor.apply_chat_template(
        answered, tokenize=True, return_dict=True, return_labels=True
    )
    said = [
        processor.decode(ids[labels != -100], skip_special_tokens=True)
        for ids, labels in zip(made["input_ids"], made["labels"], strict=True)
    ]
    assert [" ".join(text.split()) for text in said] == [
        "a bell rain and a bell",
        "rain and a bell",
        "rain and a bell",
    ]
    assert (made["labels"] == processor.text.end_id).sum() == 4
    assert made["attention_mask"][:, 0].all()  # padded on the right


def test_rendered_text_and_clips_are_the_same_tensors(processor, talks, two_clips):
    texts = processor.apply_chat_template(talks)
    assert [text.count("<audio>") for text in texts] == [2, 1, 0]
    first, second = two_clips["audio"]
    made = processor(text=texts, audio=[[first, second], [second], []], return_tensors="pt")
    whole = processor.apply_chat_template(talks, tokenize=True, return_dict=True)
    for name in ("input_ids", "attention_mask", "pal_clip_places"):
        assert torch.equal(made[name], whole[name])
    assert made["pal_windows_whisper"].tolist() == [1, 2, 2]
    with pytest.raises(ValueError, match="3 times <audio>, and there are 2 clips"):
        processor(text=texts, audio=[first, second])
    with pytest.raises(ValueError, match="expected a text"):
        processor(audio=[first])


def test_one_clip_in_every_form(processor, two_clips):
    array, rate = two_clips["audio"][0]
    file = io.BytesIO()
    soundfile.write(file, array, rate, format="WAV", subtype="FLOAT")

    def made(clip):
        part = {"type": "audio", "audio": clip}
        talk = [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]
        return processor.apply_chat_template(talk, tokenize=True, return_dict=True)

    expected = made((array, rate))
    for clip in ({"array": array, "sampling_rate": rate}, file.getvalue()):
        assert torch.equal(made(clip)["pal_features_sslam"], expected["pal_features_sslam"])


def test_what_would_change_nothing_is_refused_by_name(processor, talks, answered):
    with pytest.raises(ValueError, match="truncation=True"):
        processor.apply_chat_template(talks, tokenize=True, truncation=True)
    with pytest.raises(ValueError, match="chat_template="):
        processor.apply_chat_template(talks, chat_template="{{ messages }}")
    with pytest.raises(ValueError, match="ends with an answer"):
        processor.apply_chat_template(answered, add_generation_prompt=True)
    with pytest.raises(ValueError, match="ends with a question"):
        processor.apply_chat_template(talks, add_generation_prompt=False)
    with pytest.raises(ValueError, match="no answer to learn"):
        processor.apply_chat_template(talks[1:], tokenize=True, return_labels=True)
    with pytest.raises(ValueError, match="images="):
        processor(text="?", images=[1])


@pytest.mark.slow
def test_saving_and_loading(processor, talks, tmp_path):
    processor.save_pretrained(tmp_path)
    again = PalProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert again.apply_chat_template(talks) == processor.apply_chat_template(talks)
    inline = PalProcessor.from_pretrained(tmp_path, audio_place="inline")
    assert not inline.apply_chat_template(talks)[1].startswith("<audio>")
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(ValueError, match=r"no processor_config\.json"):
        PalProcessor.from_pretrained(tmp_path)
