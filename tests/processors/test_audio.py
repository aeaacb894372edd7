"""The audio processor, also in the slot that LAVIS's own loader reads."""

import numpy as np
import torch

# isort: split
from lavis.models import load_preprocess
from lavis.processors import load_processor
from omegaconf import OmegaConf

from pal_plugin.processors.audio import default_encoders


def test_without_a_configuration_the_default_models_encoders_are_used():
    processor = load_processor("pal_audio")
    clip = processor((np.zeros(8000, np.float32) + 0.1, 16000))
    assert set(clip) == set(default_encoders())
    for part in clip.values():
        assert len(part["features"]) == len(part["frames"]) >= 1


def test_lavis_reads_the_audio_processor_from_the_vision_slot():
    config = OmegaConf.create(
        {
            "model": {"encoders": {"sslam": {"type": "sslam", "features": {"window_s": 1.0}}}},
            "preprocess": {
                "vis_processor": {"eval": {"name": "pal_audio", "encoders": "${model.encoders}"}},
                "text_processor": {"eval": {"name": "pal_text"}},
            },
        }
    )
    audio, text = load_preprocess(config.preprocess)
    assert set(audio["eval"]((torch.randn(4000), 8000))) == {"sslam"}
    assert text["eval"]("  What is\nit? ") == "What is\nit?"
