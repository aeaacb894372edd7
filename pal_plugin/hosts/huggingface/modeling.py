"""`AudioLLM` as a model of transformers. It holds one and adds nothing to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from pal_plugin.hosts.huggingface import tensors
from pal_plugin.hosts.huggingface.configuration import PalConfig
from pal_plugin.hosts.huggingface.loading import settings_of
from pal_plugin.hosts.huggingface.processing import IGNORED, PalProcessor
from pal_plugin.llm.head import logits_of
from pal_plugin.llm.internals import attention_implementation, name_implementation
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError
from pal_plugin.models.context_length import check_context
from pal_plugin.models.interchange import (
    MODEL_TYPE,
    config_facts,
    generation_defaults,
    processor_facts,
)
from pal_plugin.utils.hub import snapshot

_MODEL = "audio_llm."
_LENGTHS = ("max_length", "min_length")
#: Of a GenerationConfig: facts about it, not settings.
_ABOUT = ("transformers_version", "_from_model_config")


class PalForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """An audio-LLM with transformers' interface.

    Args:
        config: of the model; without `audio_llm` it is built from `config.model`.
        audio_llm: the model itself.

    Attributes:
        audio_llm: the same object, for all that is not transformers'.
    """

    config_class = PalConfig
    base_model_prefix = MODEL_TYPE
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True  # transformers 4
    _supports_flex_attn = True
    accepts_loss_kwargs = True

    def __init__(self, config: PalConfig, audio_llm: AudioLLM | None = None) -> None:
        super().__init__(config)
        self.audio_llm = audio_llm or AudioLLM.from_config(config.model)
        self.generation_config = generation_defaults(self.audio_llm)
        self._report_attention()
        self.post_init()

    # From and to disk

    @classmethod
    def of(cls, audio_llm: AudioLLM, facts: Mapping[str, Any] | None = None):
        """The transformers model of an `AudioLLM`, on the same weights.

        Args:
            facts: config.json of its folder, if it has one.
        """
        facts = {**(facts or {}), **config_facts(audio_llm), "model": audio_llm.config}
        # A copy: transformers sets the attention function of all configs inside of one.
        return cls(PalConfig(**json.loads(json.dumps(facts))), audio_llm)

    @classmethod
    def from_run(cls, path: str | Path) -> PalForConditionalGeneration:
        """The model of a training run; see `AudioLLM.from_run`."""
        return cls.of(AudioLLM.from_run(path)).eval()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None,
        *args: Any,
        config: Any = None,
        **kwargs: Any,
    ):
        """The model of a folder that `save_pretrained` of either class wrote, in eval mode.

        Args:
            pretrained_model_name_or_path: a folder, or `owner/name` of the hub.
            config: of Auto classes; what it says of dtype and attention is taken.
            kwargs: those of transformers that `loading.settings_of` knows: `dtype` (of the LLM),
                `device_map`, `attn_implementation`, `quantization_config`; and `llm=`, `encoders=`,
                the places of weights that are not in the folder.

        Raises:
            ValueError, CheckpointError: as `settings_of` and `AudioLLM.from_pretrained`.
        """
        source = pretrained_model_name_or_path
        if not source:
            raise CheckpointError(
                f"the model is {source!r}; expected a folder or owner/name. Of a configuration "
                "alone: PalForConditionalGeneration(config)"
            )
        loading_info = kwargs.get("output_loading_info")
        attention = getattr(config, "_attn_implementation", None)
        settings, device = settings_of({"attn_implementation": attention, **kwargs})
        folder = snapshot(str(source), ["config.json", "generation_config.json"])
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} has no config.json")
        facts = json.loads((folder / "config.json").read_text("utf-8"))
        model = cls.of(AudioLLM.from_pretrained(str(source), **settings), facts).eval()
        model.config.name_or_path = str(source)
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        model = model if device is None else model.to(device)
        if loading_info:
            names = ("missing_keys", "unexpected_keys", "mismatched_keys")
            # Sets, as in transformers 5. All empty: else it would have raised.
            return model, {**{name: set() for name in names}, "error_msgs": []}
        return model

    def save_pretrained(
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        *,
        whole: bool = False,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Writes the folder of `AudioLLM.save_pretrained`, which both classes read.

        Args:
            state_dict: Trainer's; the model's own weights are written, so it may not differ in
                shapes.
            whole: also writes the weights that were not trained.
            kwargs: transformers' (shard sizes, ...), without effect.

        Raises:
            ValueError: `push_to_hub`: upload the folder; parameters that are shards.
        """
        if push_to_hub:
            raise ValueError("push_to_hub is not supported: save a folder, then `hf upload` it")
        sharded = [
            name
            for name, parameter in self.named_parameters()
            # DTensor (FSDP2); flat or empty shards (FSDP1, ZeRO-3) beside the whole tensors given
            if hasattr(parameter, "placements")
            or (state_dict and state_dict.get(name, parameter).shape != parameter.shape)
        ]
        if sharded:
            raise ValueError(
                f"{len(sharded)} parameters are shards, the first is {sharded[0]}; Trainer's FSDP "
                "and DeepSpeed are not supported, expected DDP (FSDP2: pal train)"
            )
        if not is_main_process:
            return
        folder = self.audio_llm.save_pretrained(save_directory, whole=whole)
        self.generation_config.save_pretrained(folder)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, **kwargs: Any):
        """Also takes the names of our own files, as Trainer reads them when it resumes.

        Raises:
            CheckpointError: it lacks weights that are trained here (an LLM trained in full is in a
                folder of its own).
        """
        ours = {
            name if name.startswith(_MODEL) else f"{_MODEL}{name}": tensor
            for name, tensor in state_dict.items()
        }
        trained = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        if missing := [name for name in trained if name not in ours]:
            raise CheckpointError(
                f"these weights lack {len(missing)} that are trained, the first is {missing[0]}; "
                "load their folder by from_pretrained and train on from there"
            )
        result = super().load_state_dict(ours, strict, **kwargs)
        # Frozen weights are in no file of ours; Trainer would name each of them in a warning.
        return type(result)([], result.unexpected_keys)

    def processor(self) -> PalProcessor:
        """The processor of this model, without a folder (that of `from_run`)."""
        facts = processor_facts(self.audio_llm.config, self.audio_llm.audio_place)
        settings = {k: v for k, v in facts.items() if k != "processor_class"}
        return PalProcessor(self.audio_llm.text.tokenizer, **settings)

    # Running it

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        skip_logits: bool | None = None,
        return_dict: bool | None = None,
        **clips: Tensor | None,
    ) -> CausalLMOutput | tuple:
        """Logits at the text positions, and the loss of the labels.

        Args:
            input_ids, attention_mask: `[R, n]`, padded on either side.
            labels: `[R, n]`, -100 where there is nothing to learn; not shifted.
            num_items_in_batch: what the sum is divided by; None: the number of labels.
            skip_logits: leave the logits out, which no loss needs; None: in training.
            return_dict: False: a tuple.
            clips: what `PalProcessor` makes besides (`tensors.flat`).

        Returns:
            `loss` and `logits` `[R, n, V]` in float32, each where there is one.

        Raises:
            ContextLengthError: a row is longer than the LLM's context.
            ValueError: see `tensors.samples`; an argument that is neither.
        """
        given = {n: value for n, value in clips.items() if value is not None and value is not False}
        if unknown := [name for name in given if not name.startswith(tensors.PREFIX)]:
            raise ValueError(
                f"forward does not know {', '.join(unknown)}; expected input_ids, attention_mask, "
                "labels, and the tensors of the clips, whose names start with pal_"
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        samples = self._samples(input_ids, mask, given)
        hidden = self.audio_llm.hidden_states(samples, input_ids, mask)
        loss = logits = None
        llm = self.audio_llm.llm
        if labels is not None:
            targets = labels[:, 1:]
            learned = targets != IGNORED
            losses = nn.functional.cross_entropy(
                logits_of(llm, hidden[:, :-1][learned]), targets[learned], reduction="none"
            )
            if num_items_in_batch is None:
                loss = losses.mean()
            else:
                loss = losses.sum() / torch.as_tensor(num_items_in_batch, device=losses.device)
        if skip_logits is None:
            skip_logits = self.training and labels is not None
        if not skip_logits:
            logits = logits_of(llm, hidden)
        if return_dict is False:
            return tuple(part for part in (loss, logits) if part is not None)
        return CausalLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Prompts with their answers, `[R, n + new]`, as transformers gives them.

        Args:
            input_ids, attention_mask: `[R, n]`, padded on the left.
            generation_config: in place of `self.generation_config`.
            kwargs: what `PalProcessor` makes besides, and arguments of transformers' `generate`.

        Raises:
            ContextLengthError: a prompt and its answer are longer than the LLM's context.
            ValueError: no `input_ids`, padding on the right, or as transformers' `generate`.
        """
        input_ids = kwargs.pop("inputs", None) if input_ids is None else input_ids
        if input_ids is None:
            raise ValueError("expected input_ids; see PalProcessor.apply_chat_template")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if not bool(mask[:, -1].all()):
            raise ValueError("the prompts are padded on the right; expected padding_side='left'")
        clips = {name: kwargs.pop(name) for name in [*kwargs] if name.startswith(tensors.PREFIX)}
        inputs = self.audio_llm.prompts(self._samples(input_ids, mask, clips))
        settings = self._settings(generation_config or self.generation_config, kwargs, input_ids)
        new = settings.get("max_new_tokens") or 0
        check_context(self.audio_llm.decoder.config, inputs, new)
        out = self.audio_llm.llm.generate(
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            **inputs.audio_kwargs,
            **settings,
        )
        new = getattr(out, "sequences", out)
        prompts = input_ids.to(new.device).repeat_interleave(len(new) // len(input_ids), 0)
        whole = torch.cat([prompts, new], 1)
        if new is out:
            return whole
        out.sequences = whole
        return out

    def _samples(self, ids: Tensor, mask: Tensor, clips: Mapping[str, Any]) -> Any:
        encoders = self.audio_llm.encoders.items()
        dtypes = {name: next(encoder.parameters()).dtype for name, encoder in encoders}
        return tensors.samples(ids, mask, clips, dtypes)

    @staticmethod
    def _settings(
        config: GenerationConfig, kwargs: Mapping[str, Any], input_ids: Tensor
    ) -> dict[str, Any]:
        """Keyword arguments of the LLM's `generate`, whose lengths do not count the prompt."""
        settings = {k: v for k, v in config.to_diff_dict().items() if k not in _ABOUT} | kwargs
        lengths = {name: settings.pop(name, None) for name in _LENGTHS}
        for name, length in lengths.items():
            new = name.replace("length", "new_tokens")
            if length is not None and new not in kwargs:
                settings[new] = max(length - input_ids.shape[1], 0)
        return settings

    # What transformers asks a model for

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's."""
        return self.audio_llm.llm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Sets the LLM's."""
        self.audio_llm.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        return self.audio_llm.llm.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Sets the LLM's head."""
        self.audio_llm.llm.set_output_embeddings(value)

    def get_decoder(self) -> nn.Module:
        """The LLM's stack of layers."""
        return self.audio_llm.decoder

    def set_attn_implementation(self, attn_implementation: str, **kwargs: Any) -> None:
        """Sets the LLM's; encoders keep their own.

        Raises:
            ValueError: not one name, or one that the LLM does not support.
        """
        if not isinstance(attn_implementation, str):
            raise ValueError(
                f"attn_implementation is {attn_implementation!r}; expected the name of the LLM's"
            )
        self.audio_llm.llm.set_attn_implementation(attn_implementation, **kwargs)
        self._report_attention()

    def _report_attention(self) -> None:
        name_implementation(self.config, attention_implementation(self.audio_llm.llm.config))

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Refused: the frozen LLM is stored by reference, without rows that were added."""
        raise NotImplementedError(
            "clips need no tokens of their own, so the vocabulary stays the LLM's; resize the LLM, "
            "save it, and build the model on it"
        )

    def tie_weights(self, *args: Any, **kwargs: Any) -> None:
        """Done where the LLM is loaded."""

    def init_weights(self, *args: Any, **kwargs: Any) -> None:
        """Done by the loader; nothing is to be initialized over it."""

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs=None, **kwargs) -> None:
        """Never reentrant, which LAL does not allow, whatever the arguments say."""
        self.audio_llm.checkpoint_activations()

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs=None, **kwargs):
        """The name of transformers 5.24."""
        self.audio_llm.checkpoint_activations()

    def gradient_checkpointing_disable(self) -> None:
        """Switches it off."""
        llm = self.audio_llm.llm
        disable = getattr(llm, "activation_checkpointing_disable", None)
        (disable or llm.gradient_checkpointing_disable)()

    def activation_checkpointing_disable(self) -> None:
        """The name of transformers 5.24."""
        self.gradient_checkpointing_disable()
