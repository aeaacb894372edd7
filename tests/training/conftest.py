"""Recipes of clips and of augmented clips, whose encoders' states are kept."""

import numpy as np
import pytest
import soundfile

from pal_plugin.encoders.cache import EncoderCache

RATE_HZ = 16000
RECIPE = """
model:
  arch: pal
  model_type: lal
  checkpoint: null
  stage: {{llm: frozen}}
  encoders:
    sslam: {{cache: {cache}}}
    clap: {{cache: {cache}}}
    whisper: {{cache: {cache}}}
datasets: {datasets}
run: {{max_epoch: 2, batch_size_train: 2, num_workers: {workers}, length_pool: 1, log_freq: 1,
       device: cpu, torch_threads: 1, masked_audio: false, output_dir: '{folder}/output'}}
"""
CLIPS = """
  pal_clips:
    candidates: [low, high]
    build_info:
      audio: {{storage: '{folder}'}}
      annotations:
        train: {{storage: '{folder}/clips.csv', where: {{split: train}}}}
        val: {{storage: '{folder}/clips.csv', where: {{split: val}}}}
"""


def write_clips(folder, count):
    """Tones of other lengths; the last two are to evaluate on."""
    lines, rng = ["filename,category,domain,split"], np.random.default_rng(0)
    for number in range(count):
        seconds, label = 0.4 + 0.2 * (number % 6), ("low", "high")[number % 2]
        tone = np.sin(np.arange(round(seconds * RATE_HZ)) * (0.05, 0.3)[number % 2])
        tone = 0.1 * (tone + 0.1 * rng.standard_normal(len(tone)))
        soundfile.write(folder / f"{number}.wav", tone, RATE_HZ)
        lines.append(f"{number}.wav,{label},tones,{'train' if number < count - 2 else 'val'}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """`recipe(name, ...)` writes one, with its clips, and returns its path; there is no cache."""
    monkeypatch.setenv("PAL_CACHE", str(tmp_path / "cache"))

    def write(name, cache="true", workers=0, datasets=CLIPS, clips=6):
        write_clips(tmp_path, clips)
        path = tmp_path / f"{name}.yaml"
        datasets = datasets.format(folder=tmp_path)
        values = {"cache": cache, "workers": workers, "datasets": datasets, "folder": tmp_path}
        path.write_text(RECIPE.format(**values))
        return str(path)

    return write


@pytest.fixture
def filled(monkeypatch):
    """Names of the encoders that encoded something, in turn."""
    names, fill = [], EncoderCache.fill

    def counted(self, encoder, entry):
        names.append(self.name)
        return fill(self, encoder, entry)

    monkeypatch.setattr(EncoderCache, "fill", counted)
    return names
