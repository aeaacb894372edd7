"""What the tests beside share."""

WHISPER = {
    "type": "whisper",
    "features": {"window_s": 5.0},
    "model": {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "max_source_positions": 250,
    },
}
