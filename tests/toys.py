"""A model and data small enough to train in a second, through the real configuration and loaders.

The model has the interface of the real one (`encode_audio`, `predict_class`, checkpoints) and
hears one thing: which mel channel is loudest. Clips are low and high tones in real tar shards.
"""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from pal_plugin.config.registry import DATASETS, MODELS
from pal_plugin.datasets.builders import Builder
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream

LABELS = ["low", "high"]
RATE_HZ = 16000

MODEL_YAML = """
model:
  arch: toy_listener
  model_type: {kind}
  checkpoint: null
  width: {width}
  encoders:
    sslam: {{type: sslam, checkpoint: null, features: {{window_s: 1.0}}}}
  stage: {{connectors: full, llm: frozen}}
preprocess:
  vis_processor:
    train: {{name: pal_audio, encoders: "${{model.encoders}}"}}
    eval: {{name: pal_audio, encoders: "${{model.encoders}}"}}
"""

DATASET_YAML = """
datasets:
  toy_tones:
    data_type: audio
    build_info: {storage: "???", clips: {train: 12, val: 8, extra: 0}}
    tasks: {classification: 1.0, caption: 1.0, qa: 1.0, transcript: 0.0}
    items_per_clip: 2
    audio_processor:
      train: {name: pal_audio, encoders: "${oc.select:model.encoders,null}"}
      eval: {name: pal_audio, encoders: "${oc.select:model.encoders,null}"}
    text_processor: {train: {name: pal_text}, eval: {name: pal_text}}
"""


class ToyListener(torch.nn.Module):
    """Scores "low" and "high" from the mean log-mel spectrum."""

    PRETRAINED_MODEL_CONFIG_DICT = {}  # noqa: RUF012 - filled by the fixture

    def __init__(self, width):
        super().__init__()
        self.embed = torch.nn.Linear(128, width)
        self.head = torch.nn.Linear(width, 2)
        self.frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
        self.calls = []

    @classmethod
    def from_config(cls, cfg):
        model = cls(cfg.width)
        if cfg.checkpoint:
            model.load_checkpoint(cfg.checkpoint)
        model.plain = OmegaConf.to_container(cfg, resolve=True)
        return model

    def encode_audio(self, samples):
        self.calls.append("encode_audio")
        audio = samples["audio"]["sslam"]
        means = audio["features"].float().flatten(1, -2).mean(1)
        return torch.stack([part.mean(0) for part in means.split(audio["windows"].tolist())])

    def scores(self, samples):
        clips = samples.get("audio_tokens")
        if clips is None:
            clips = self.encode_audio(samples)
        rows = self.embed(clips)[samples["clip_index"]]
        if "audio_mask" in samples:
            rows = rows * samples["audio_mask"][:, None]
        return self.head(rows)

    def forward(self, samples):
        wanted = torch.tensor([int("high" in answer) for answer in samples["text_output"]])
        losses = torch.nn.functional.cross_entropy(self.scores(samples), wanted, reduction="none")
        return {"loss": losses.mean(), "per_row_loss": losses.detach()}

    def generate(self, samples, max_new_tokens=32):
        self.calls.append("generate")
        return [LABELS[i] for i in self.scores(samples).argmax(1)]

    predict_answers = generate

    def predict_class(self, samples, candidates):
        self.calls.append(("predict_class", tuple(candidates)))
        scores = self.scores(samples)[:, : len(candidates)]
        return {"predictions": [candidates[i] for i in scores.argmax(1)], "scores": scores}

    def save_checkpoint(self, path, **meta):
        state = {n: p.detach() for n, p in self.named_parameters() if p.requires_grad}
        save_file(state, path)
        path.with_suffix(".json").write_text(json.dumps({"model": self.plain, **meta}))
        return path

    def load_checkpoint(self, path):
        # The frozen weights are not in the file; exactly what may be absent is asserted.
        loaded = self.load_state_dict(load_file(path), strict=False)
        assert loaded.missing_keys == ["frozen"]
        assert not loaded.unexpected_keys

    def trainable_table(self):
        return "toy table"


class ToyTonesBuilder(Builder):
    DATASET_CONFIG_DICT = {}  # noqa: RUF012 - filled by the fixture

    def build(self):
        info = self.settings["build_info"]
        return {
            split: ShardStream(
                [f"{info['storage']}/{split}-{i}.tar" for i in range(2)],
                clips,
                self.processor("audio", self.trains(split)),
                self.processor("text", self.trains(split)),
                QuestionMix(self.settings["tasks"], None, self.settings["items_per_clip"]),
                train=self.trains(split),
                candidates=LABELS,
            )
            for split, clips in info["clips"].items()
            if clips
        }


def tone(label, rng, seconds=0.4):
    pitch_hz = (300 if label == "low" else 4000) * rng.uniform(0.9, 1.1)
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32)


def flac(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC")
    return file.getvalue()


def write_shard(path, clips):
    """`clips`: list of (key, bytes of the audio, facts)."""
    with tarfile.open(path, "w") as tar:
        for key, audio, facts in clips:
            for name, data in ((f"{key}.flac", audio), (f"{key}.json", json.dumps(facts).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def facts(key, label):
    def item(task, question, answer):
        return {
            "task": task,
            "question_type": "kind" if task == "classification" else task,
            "question": question,
            "answer": answer,
            "answers": [answer],
        }

    return {
        "id": key,
        "items": [
            item("classification", "What is it?", label),
            item("qa", "Is it low or high?", label),
            item("caption", "Describe it.", f"a {label} tone"),
        ],
    }


def write_shards(folder):
    """train-{0,1}.tar (12 clips) and val-{0,1}.tar (8 clips)."""
    rng = np.random.default_rng(0)
    for split, per_shard in (("train", 6), ("val", 4)):
        for shard in range(2):
            clips = []
            for i in range(per_shard):
                key, label = f"{split}-{shard}-{i}", LABELS[i % 2]
                clips.append((key, flac(tone(label, rng)), facts(key, label)))
            write_shard(folder / f"{split}-{shard}.tar", clips)
    return folder


def write(path, text):
    """Whole at once: several processes of a run write the same files, and read them at once."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)


def register(folder, shards):
    """Make the toy model and dataset known, with a recipe in `folder`, whose path is returned."""
    folder = Path(folder)
    for kind, width in (("small", 4), ("large", 16)):
        path = folder / f"model_{kind}.yaml"
        write(path, MODEL_YAML.format(kind=kind, width=width))
        ToyListener.PRETRAINED_MODEL_CONFIG_DICT[kind] = str(path)
    write(folder / "toy_tones.yaml", DATASET_YAML)
    ToyTonesBuilder.DATASET_CONFIG_DICT["default"] = str(folder / "toy_tones.yaml")
    MODELS.add("toy_listener", ToyListener)
    DATASETS.add("toy_tones", ToyTonesBuilder)
    recipe = folder / "toy_recipe.yaml"
    write(
        recipe,
        "model: {arch: toy_listener, model_type: small}\n"
        f"datasets: {{toy_tones: {{build_info: {{storage: '{shards}'}}}}}}\n"
        "run: {max_epoch: 2, batch_size_train: 4, batch_size_eval: 3, num_workers: 0,"
        " init_lr: 0.05, warmup_steps: 1, log_freq: 2, pictures: false}\n",
    )
    return recipe
