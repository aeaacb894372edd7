"""`pal_mini`: shares, passes, reseeding, and what is said about wrong data."""

import csv
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from pal_plugin.config.registry import CONFIGS, PROCESSORS
from pal_plugin.datasets import mini
from pal_plugin.utils.errors import ConfigError

RATE_HZ = 16000
ENCODERS = {"clap": {"type": "clap", "features": {"window_s": 5.0, "hop_length": 960}}}
#: (domain, split, label, clips)
CLIPS = [
    ("esc10", "train", "dog", 2),
    ("esc10", "train", "rain", 1),
    ("esc10", "val", "dog", 2),
    ("digits", "train", "one", 6),
    ("digits", "train", "two", 6),
    ("digits", "val", "one", 2),
    ("digits", "val_speaker", "two", 3),
    ("instruments", "train", "flute", 3),
    ("instruments", "val", "cello", 1),
]


@pytest.fixture
def folder(tmp_path):
    """PAL_DATA with clips of 0.2 s and a splits.csv beside them."""
    (tmp_path / "audio").mkdir()
    rng = np.random.default_rng(0)
    with (tmp_path / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "category", "domain", "split", "group"])
        for domain, split, label, count in CLIPS:
            for i in range(count):
                name = f"{domain}-{split}-{label}-{i}.wav"
                samples = 0.1 * rng.standard_normal(RATE_HZ // 5)
                soundfile.write(tmp_path / "audio" / name, samples, RATE_HZ)
                writer.writerow([name, label, domain, split, "g"])
    return tmp_path


def settings(folder, **changes):
    config = OmegaConf.load(CONFIGS / "datasets" / "pal_mini.yaml").datasets.pal_mini
    config.build_info.audio.storage = str(folder / "audio")
    config.build_info.annotations = str(folder / "splits.csv")
    for use in ("train", "eval"):
        config.audio_processor[use].encoders = ENCODERS
    config.order_seed = 0
    return OmegaConf.merge(config, OmegaConf.create(changes))


def build(folder, **changes):
    return mini.MiniBuilder(settings(folder, **changes)).build_datasets()


def test_each_domain_has_its_share_of_a_pass_and_every_clip_its_turn(folder):
    train = build(folder)["train"]
    assert train.shares == {"esc10": 6, "digits": 6, "instruments": 6}  # 3, 12 and 3 clips
    heard = [train[i] for i in range(2 * len(train))]
    assert Counter(clip["items"][0]["question_type"] for clip in heard) == {
        "esc10": 12,
        "digits": 12,
        "instruments": 12,
    }
    counts = Counter(clip["sample_id"] for clip in heard)
    digits = {name: n for name, n in counts.items() if name.startswith("digits")}
    assert len(digits) == 12
    assert set(digits.values()) == {1}  # a pass of digits takes two passes of the mixture
    assert {n for name, n in counts.items() if name.startswith("esc10")} == {4}
    assert not any("val" in name for name in counts)


def test_questions_and_candidates_belong_to_the_domain(folder):
    datasets = build(folder)
    val = datasets["val"]
    by_type = {}
    for i in range(len(val)):
        by_type.setdefault(val[i]["items"][0]["question_type"], []).append(val[i])
    assert {name: len(clips) for name, clips in by_type.items()} == {
        "esc10": 2,
        "digits": 2,
        "digits_unseen_speaker": 3,
        "instruments": 1,
    }
    item = by_type["digits_unseen_speaker"][0]["items"][0]
    assert item["question"] == "Which digit is spoken?"
    assert item["candidates"] == ["one", "two"]  # of all splits
    assert item["answer"] == "two"
    assert by_type["instruments"][0]["items"][0]["candidates"] == ["cello", "flute"]
    asked = {datasets["train"][i]["items"][0]["question"] for i in range(len(datasets["train"]))}
    assert {"Which digit is spoken?", "Which instrument plays?", "What do you hear?"} <= asked


def test_batches_mix_domains(folder):
    datasets = build(folder)
    batch = datasets["train"].collater([datasets["train"][i] for i in (0, 7, 13)])
    assert batch["question_type"] == ["esc10", "digits", "instruments"]
    assert batch["audio"]["clap"]["windows"].tolist() == [1, 1, 1]
    held_out = datasets["val"].collater([datasets["val"][0], datasets["val"][7]])
    assert held_out["num_clips"] == 2


def test_a_clip_is_the_same_in_any_worker_and_differs_between_passes(folder):
    first, second = build(folder)["train"], build(folder)["train"]
    second[5]  # the order of the calls does not matter
    clip = first[3]["audio"]["clap"]["features"]
    assert torch.equal(clip, second[3]["audio"]["clap"]["features"])
    later = first[len(first) + 3]
    again = next(  # the same file, another pass of its domain
        first[i]
        for i in range(3 * len(first), 9 * len(first))
        if first[i]["sample_id"] == first[3]["sample_id"]
    )
    assert not torch.equal(clip, again["audio"]["clap"]["features"])
    assert later["items"][0]["question_type"] == "esc10"
    other_seed = build(folder, order_seed=1)["train"]
    names = [[d[i]["sample_id"] for i in range(len(d))] for d in (first, other_seed)]
    assert names[0] != names[1]


def test_evaluation_changes_nothing(folder):
    val = build(folder)["val"]
    plain = PROCESSORS.get("pal_audio").from_config({"encoders": ENCODERS})
    wanted = plain(folder / "audio" / val[0]["sample_id"])["clap"]["features"]
    assert torch.equal(val[0]["audio"]["clap"]["features"], wanted)


def test_a_domain_can_be_left_out(folder):
    datasets = build(folder, domains={"instruments": None})
    assert list(datasets["train"].datasets) == ["esc10", "digits"]


def test_missing_clips_and_wrong_weights_are_errors(folder):
    with pytest.raises(ConfigError, match=r"weight must be positive"):
        build(folder, domains={"esc10": {"weight": 0.0}})
    next((folder / "audio").glob("esc10-train*")).unlink()
    with pytest.raises(ConfigError, match=r"1 of 3 clips of 'esc10 train' are missing"):
        build(folder)
