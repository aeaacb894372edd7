"""CLAP and Whisper from folders as `save_pretrained` writes them; fused CLAP is refused."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    ClapAudioConfig,
    ClapAudioModel,
    ClapConfig,
    ClapModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from pal_plugin.encoders import CLAP, Whisper, build_encoder, build_features

CLAP_SIZE = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "hidden_size": 64,
}
# Heads, mels and the proportions of the published models; layers and widths shrunk.
WHISPERS = {
    "tiny": {"encoder_attention_heads": 6, "d_model": 24, "num_mel_bins": 80},
    "base": {"encoder_attention_heads": 8, "d_model": 32, "num_mel_bins": 80},
    "small": {"encoder_attention_heads": 12, "d_model": 48, "num_mel_bins": 80},
    "medium": {"encoder_attention_heads": 16, "d_model": 64, "num_mel_bins": 80},
    "large-v2": {"encoder_attention_heads": 20, "d_model": 80, "num_mel_bins": 80},
    "large-v3": {"encoder_attention_heads": 20, "d_model": 80, "num_mel_bins": 128},
}


def randomised(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                # Positive, for the variances of the BatchNorm.
                tensor.copy_(0.02 + 0.1 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def save_clap(folder, whole: bool, **audio) -> ClapAudioModel:
    """A ClapModel, or its audio half alone, with random weights."""
    config = ClapAudioConfig(**CLAP_SIZE, **audio)
    if not whole:
        model = randomised(ClapAudioModel(config))
        model.save_pretrained(folder)
        return model
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    text |= {"intermediate_size": 8, "projection_dim": 8}
    model = ClapModel(ClapConfig(text_config=text, audio_config=config.to_dict(), projection_dim=8))
    randomised(model).save_pretrained(folder)
    return model.audio_model


@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_clap_from_a_folder(tmp_path, whole):
    audio = save_clap(tmp_path, whole)
    encoder = build_encoder("clap", {}, tmp_path).eval()
    mel = build_features("clap")(0.1 * torch.randn(5 * 48000))["features"]
    expected = audio(mel).last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2)
    tokens = encoder(mel)
    assert tokens.grid == (32, 2)
    torch.testing.assert_close(tokens.features, expected)
    assert torch.equal(encoder(mel).features, tokens.features)  # the same every time


@pytest.mark.parametrize("whole", [True, False])
def test_fused_clap_is_refused_by_name(tmp_path, whole):
    model = save_clap(tmp_path, whole, enable_fusion=True)
    for source in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match=rf"{tmp_path} is a fused CLAP.*clap-htsat-unfused"):
            CLAP.from_checkpoint(source)
    file = tmp_path / "alone.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    with pytest.raises(ValueError, match=rf"{file} is a fused CLAP"):
        CLAP.from_checkpoint(file, **CLAP_SIZE)


def test_clap_hears_laions_range():
    """50 to 14000 Hz, though the class of transformers begins at 0."""
    features = build_features("clap")

    def spectrum(hz):
        """Mean over the frames that hear nothing but the tone."""
        tone = torch.sin(2 * torch.pi * hz * torch.arange(48000) / 48000)
        return features(tone)["features"][0, 0, 10:90].mean(0)

    inside = spectrum(1000.0).max()
    assert spectrum(13800.0).max() > inside - 20  # its band is wide, so its filter is low
    assert spectrum(16000.0).max() < inside - 60
    assert spectrum(70.0).argmax() == 0
    assert spectrum(13800.0).argmax() == 63


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("name", WHISPERS)
@torch.no_grad()
def test_whisper_from_a_folder(tmp_path, name, head):
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 9}
    config = WhisperConfig(
        **WHISPERS[name],
        **special,
        encoder_layers=2,
        encoder_ffn_dim=4 * WHISPERS[name]["d_model"],
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        decoder_start_token_id=1,
        max_source_positions=50,
    )
    whole = randomised((WhisperForConditionalGeneration if head else WhisperModel)(config))
    whole.save_pretrained(tmp_path)
    features = {"window_s": 1.0, "n_mels": config.num_mel_bins}
    encoder = build_encoder("whisper", {}, tmp_path, features).eval()
    mel = build_features("whisper", features)(0.1 * torch.randn(12000))["features"]
    expected = whole.get_encoder()(mel).last_hidden_state
    torch.testing.assert_close(encoder(mel).features, expected)
    assert encoder.width == config.d_model


def test_another_number_of_mels_is_noticed_when_the_encoder_is_built(tmp_path):
    large = {"num_mel_bins": 128, "d_model": 16, "encoder_layers": 1, "encoder_ffn_dim": 16}
    large |= {"encoder_attention_heads": 2, "max_source_positions": 50}
    for features in (None, {"window_s": 1.0}, {"window_s": 1.0, "n_mels": 80}):
        with pytest.raises(ValueError, match=r"expects 128 mels.*have 80; set .*n_mels: 128"):
            build_encoder("whisper", large, features=features)
    encoder = build_encoder("whisper", large, features={"window_s": 1.0, "n_mels": 128})
    assert isinstance(encoder, Whisper)
    with pytest.raises(
        ValueError, match=r"encoder 'clap': encoder expects 32 mels, its features have 64"
    ):
        build_encoder("clap", {**CLAP_SIZE, "num_mel_bins": 32})
