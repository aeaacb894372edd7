"""Valid values of the keys of a run: one table, checked when a configuration is made.

Errors are reported before anything is loaded. Upper limits exclude values that can only be mistakes
and would exhaust the memory or never end. The defaults are in `configs/`; keys that are not listed
here are checked where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pal_plugin.config.kinds import FLAG, Either, Kind, ListOf, Number, OneOf, Section, Text
from pal_plugin.config.merging import fits


def _one_of(*values: str, null: bool = False) -> OneOf:
    text = ", ".join([*values, *(["null"] if null else [])])
    return OneOf((*values, *((None,) if null else ())), f"one of {text}")


def _size(most: float, *, null: bool = False) -> Number:
    return Number(1, most, whole=True, null=null)


#: Arguments of commands: seconds of a clip or window, text tokens, number of processes.
CLIP_S = Number(most=3600, above=0)
TEXT_TOKENS = _size(10**6)
WORLD_SIZE = _size(100_000)
COUNT = Number(whole=True)
#: Valid for all random number generators in use.
SEED = Number(most=2**63 - 1, whole=True)
BATCH = _size(4096)
WORKERS = Number(most=1024, whole=True)

_MANY, _MANY_OR_NULL = Number(1, whole=True), Number(1, whole=True, null=True)
_SHARE = Number(most=1)
_WIDTH, _LAYERS = _size(2**16), _size(1024)
_RATE = Number(most=100)
_RANGE = ListOf(Number(-math.inf), size=2, rising=True)
_RANGE_OR_NULL = ListOf(Number(-math.inf), size=2, rising=True, null=True)
_TEXT, _TEXT_OR_NULL, _SECTION = Text(), Text(null=True), Section()
_FAULT = OneOf(("stop", "skip"), "stop or skip")
_SPLITS = ListOf(_TEXT, least=0, null=True)
_BY_SPLIT = Either((_SHARE, _SECTION))

_RUN: dict[str, Kind] = {
    "output_dir": _TEXT,
    "name": Text(folder=True),  # run folders are named RECIPE-DATE-TIME
    "seed": SEED,
    "device": _TEXT,
    "amp": OneOf((None, False, True, "none", "fp32", "bf16", "fp16"), "none (fp32), bf16 or fp16"),
    "torch_threads": Number(1, 1024, whole=True, null=True, words=("auto",)),
    "parallel": _one_of("ddp", "fsdp"),
    "timeout_s": Number(1, 10**7),
    "resume": _TEXT_OR_NULL,
    "save_every": _MANY_OR_NULL,
    "keep_checkpoints": _MANY,
    "on_nonfinite": _FAULT,
    "on_out_of_memory": _FAULT,
    "train_splits": _SPLITS,
    "valid_splits": _SPLITS,
    "test_splits": _SPLITS,
    "max_epoch": COUNT,  # 0: evaluate the untrained model
    "steps_per_epoch": _MANY_OR_NULL,
    "max_minutes": Number(0.01, 10**7, null=True),
    "batch_size_train": BATCH,
    "batch_size_eval": BATCH,
    "num_workers": WORKERS,
    "length_pool": _size(10_000),
    "shard_streams": _size(100_000, null=True),
    "train_dataset_ratios": Section(null=True),
    "train_dataset_ratios.*": Number(above=0, null=True),
    "accum_grad_iters": _size(100_000),
    "grad_clip": Number(above=0, null=True),
    "lr_sched": _TEXT,
    "init_lr": _RATE,
    "lr_scale": Section(null=True),
    "lr_scale.*": Number(),
    "min_lr": _RATE,
    "warmup_lr": _RATE,
    "warmup_steps": COUNT,
    "lr_decay_rate": Number(above=0, null=True),
    "weight_decay": _RATE,
    "beta2": Number(below=1),
    "log_freq": _MANY,
    "pictures": FLAG,
    "tensorboard": OneOf((True, False, None, "auto"), "true, false or auto"),
    "wandb": _TEXT_OR_NULL,
    "eval_limit": _MANY_OR_NULL,
    "select_by": _TEXT,
    "max_new_tokens": TEXT_TOKENS,
    "caption_examples": COUNT,
    "generation": Section(null=True),
    "generation.do_sample": Either((FLAG, OneOf((None,), "null"))),
    "generation.num_beams": _size(1024, null=True),
    "generation.temperature": Number(above=0, null=True),
    "generation.top_k": Number(whole=True, null=True),
    "generation.top_p": Number(most=1, above=0, null=True),
    "generation.repetition_penalty": Number(above=0, null=True),
    "generation.length_penalty": Number(-math.inf, null=True),
    "generation.no_repeat_ngram_size": Number(whole=True, null=True),
    "evaluation": Section(null=True),
    **{
        f"evaluation.{task}.{key}": kind
        for key, kind in {"by": _TEXT, "embedder": _TEXT_OR_NULL, "template": _TEXT}.items()
        for task in ("classification", "tagging")
    },
    "evaluation.caption.tokenizer": _one_of("auto", "ptb", "plain"),
    "evaluation.caption.metrics": ListOf(_TEXT, null=True),
    "evaluation.transcript.spelling": _TEXT_OR_NULL,
    "evaluation.reasoning.template": _TEXT_OR_NULL,
    "evaluation.chat.template": _TEXT_OR_NULL,
    "evaluation.multiple_choice.protocol": _TEXT,
    "evaluation.multiple_choice.shuffles": Number(most=10_000, whole=True),
}
_MODEL: dict[str, Kind] = {
    "checkpoint": _TEXT_OR_NULL,
    "lal_gain": Number(above=0, null=True),
    "audio_place": _one_of("front", "inline"),
    "llm": _SECTION,
    "llm.path": _TEXT,
    "llm.dtype": _one_of("float32", "bfloat16", "float16"),
    "llm.attn_implementation": _TEXT,
    "llm.prompt": _TEXT,
    "llm.system": _TEXT_OR_NULL,
    "llm.quantize": _one_of("4bit", "8bit", null=True),
    "llm.tokenizer": _TEXT_OR_NULL,
    "stage.encoders": _one_of("frozen", "full"),
    "stage.connectors": _one_of("frozen", "full"),
    "stage.llm": _one_of("frozen", "lora", "full"),
    "stage.lora_targets": _one_of("attention", "attention_ffn"),
    "stage.lora_rank": _WIDTH,
    "stage.lora_alpha": Number(above=0),
    "stage.aligns": _TEXT_OR_NULL,
    "encoders": _SECTION,
    "encoders.*": Section(null=True),
    "encoders.*.type": _TEXT,
    "encoders.*.checkpoint": _TEXT_OR_NULL,
    "encoders.*.hidden_states": ListOf(Number(most=1024, whole=True), null=True),
    "encoders.*.cache.variants": _MANY_OR_NULL,
    "encoders.*.cache.limit_gb": Number(above=0),
    "encoders.*.features": Section(null=True),
    "encoders.*.features.window_s": CLIP_S,
    "encoders.*.features.overlap_s": Number(most=3600, null=True),
    "encoders.*.features.max_s": Number(above=0, null=True),
    "encoders.*.features.precision": _one_of("fast", "exact"),
    "encoders.*.features.n_fft": _WIDTH,
    "encoders.*.features.hop_length": _WIDTH,
    "encoders.*.features.n_mels": _size(4096),
    "encoders.*.features.sample_rate_hz": Number(1000, 10**6, whole=True),
    "encoders.*.features.*_hz": Number(most=10**6),
    "encoders.*.model": Section(null=True),
    "encoders.*.model.depth": _LAYERS,
    "encoders.*.model.*layers": _LAYERS,
    "encoders.*.model.depths": ListOf(_LAYERS),
    "encoders.*.model.num_attention_heads": Either((_LAYERS, ListOf(_LAYERS))),
    "encoders.*.model.*heads": _LAYERS,
    "encoders.*.model.*_dim": _WIDTH,
    "encoders.*.model.d_model": _WIDTH,
    "encoders.*.model.*_size": _WIDTH,
    "encoders.*.model.mlp_ratio": Number(above=0),
    "encoders.*.model.window_s": Number(most=3600, above=0, null=True),
    "encoders.*.model.max_source_positions": _size(10**6, null=True),
    "encoders.*.model.max_time_cells": _size(10**6),
    "encoders.*.model.short_windows": FLAG,
    "encoders.*.model.drop_path_rate": Number(below=1),
    "connectors": _SECTION,
    "connectors.*": Section(null=True),
    "connectors.*.type": _TEXT,
    "connectors.*.encoders": ListOf(_TEXT),
    "connectors.*.args": Section(null=True),
    "connectors.*.args.grid": ListOf(_size(4096), size=2),
    "connectors.*.args.hidden": _size(2**16, null=True),
    "connectors.*.args.encoder_width": _size(2**16, null=True),
    "connectors.*.args.width": _WIDTH,
    "connectors.*.args.heads": _LAYERS,
    "connectors.*.args.layers": _LAYERS,
    "connectors.*.args.pool": _size(10**6),
    "connectors.*.args.queries": _size(2**16, null=True),
    "connectors.*.args.window": _size(10**6, null=True),
    "connectors.*.args.cross_attention_frequency": _LAYERS,
    "connectors.*.args.dropout": Number(below=1),
    "routing": _SECTION,
    "routing.*": Either((Section(null=True), ListOf(_SECTION))),
    **{
        f"routing.*{each}.{key}": kind  # of a route, and of each in a list
        for each in ("", ".*")
        for key, kind in (
            ("integration", _one_of("plits", "lal", "flamingo")),
            ("layers", ListOf(Number(most=1023, whole=True), null=True)),
            ("pool", _size(10**6)),
        )
    },
}
_DATASETS: dict[str, Kind] = {
    "build_info": _SECTION,
    "build_info.storage": _TEXT_OR_NULL,
    "build_info.audio": _SECTION,
    "build_info.audio.storage": _TEXT_OR_NULL,
    "build_info.soundfont": _TEXT_OR_NULL,
    "build_info.clips": _SECTION,
    "build_info.clips.*": Number(most=10**7, whole=True, null=True),
    "build_info.counts.*": _MANY,
    "build_info.seed": SEED,
    "build_info.workers": _size(1024, null=True),
    # Their limits are checked by `spoken.settings`, which knows those of the voices.
    **{
        f"build_info.{key}": Either((_RANGE, _SECTION))
        for key in (
            *("sequence_words", "words_per_minute", "pitch", "pitch_range"),
            *("silence_s", "level_db", "snr_db"),
        )
    },
    **{
        f"build_info.{key}{of}": kind  # for all splits, or by split
        for key in ("digits", "sequences", "noise", "telephone", "reverb")
        for of, kind in (("", _BY_SPLIT), (".*", _SHARE))
    },
    "tasks": _SECTION,
    "tasks.*": Number(null=True),
    "questions": Either((_SECTION, ListOf(_TEXT))),  # by task, or of all clips
    "questions.*": _TEXT_OR_NULL,
    "question_types": ListOf(_TEXT, null=True),
    "items_per_clip": _size(1000),
    "eval_items_per_type": _MANY_OR_NULL,
    "shuffle_buffer": _size(10**6),
    "order_seed": SEED,
    "domains": _SECTION,
    "domains.*": Section(null=True),
    "domains.*.weight": Number(),
    "domains.*.questions": ListOf(_TEXT),
    "audio_processor": _SECTION,
    "audio_processor.*": _SECTION,
    "audio_processor.*.name": _TEXT,
    **{f"audio_processor.*.{k}": v for k, v in _MODEL.items() if k.startswith("encoders")},
    "text_processor": _SECTION,
    "text_processor.*": _SECTION,
    "text_processor.*.name": _TEXT,
    "audio_processor.*.augment": Section(null=True),
    **{
        f"audio_processor.*.augment.{key}": kind
        for key, kind in {
            "crop_s": Number(above=0, null=True),
            "shift_s": Number(most=3600),
            "mix_snr_db": _RANGE,
            "speed": ListOf(Number(0.5, 2), size=2, rising=True, null=True),
            "*_db": _RANGE_OR_NULL,
            "tilt_db_per_octave": _RANGE_OR_NULL,
            "*_probability": _SHARE,
            "*_share": _SHARE,
            "*_masks": Number(most=1000, whole=True),
            "mix_loop": FLAG,
        }.items()
    },
}
#: By pattern, where `*` stands for one name or a part of it; the first match counts.
RANGES: dict[str, Kind] = {
    **{f"run.{key}": kind for key, kind in _RUN.items()},
    **{f"model.{key}": kind for key, kind in _MODEL.items()},
    **{f"datasets.*.{key}": kind for key, kind in _DATASETS.items()},
}


def kind_of(path: str) -> Kind | None:
    """Valid values of the key at a dotted path; None if the table has no entry."""
    return next((kind for pattern, kind in RANGES.items() if fits(pattern, path)), None)


def problems(config: Mapping[str, Any]) -> list[str]:
    """A message for each invalid value in a configuration's sections."""
    return [
        f"{path} is {value!r}; expected {kind}"
        for path, value in _values(config)
        if (kind := kind_of(path)) is not None and not kind.holds(value)
    ]


def with_whole_numbers(config: Any, path: str = "") -> Any:
    """The sections with floats such as 1e3 converted to int where a whole number is expected."""
    if isinstance(config, Mapping):
        return {
            key: with_whole_numbers(value, f"{path}.{key}" if path else str(key))
            for key, value in config.items()
        }
    whole = isinstance(config, float) and getattr(kind_of(path), "whole", False)
    return int(config) if whole and config.is_integer() else config


def _values(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of all keys, sections included; list entries by their index."""
    if path:
        yield path, node
    inner = node.items() if isinstance(node, Mapping) else ()
    if isinstance(node, list) and any(isinstance(one, Mapping) for one in node):
        inner = enumerate(node)
    for key, value in inner:
        yield from _values(value, f"{path}.{key}" if path else str(key))
