"""Messages, or texts and clips, as the tensors that `PalForConditionalGeneration` takes.

Design choice: not the jinja template but `read_messages` writes the prompt, as in `AudioLLM`: what
spells a control token in a message stays text. A clip is no token; `audio_token` stands for it in
rendered text only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from pal_plugin.audio.io import is_one_clip
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.hosts.huggingface import tensors
from pal_plugin.hosts.huggingface.audio_parts import clip_of, is_one_conversation, read_parts
from pal_plugin.integration.routing import ClipPlaces
from pal_plugin.llm.loading import load_tokenizer
from pal_plugin.llm.prompts import CHAT, TextFormat
from pal_plugin.models.batching import pad_ids
from pal_plugin.models.conversations import Conversations, clip_places, gather
from pal_plugin.models.interchange import PROCESSOR, PROCESSOR_CONFIG
from pal_plugin.utils.hub import snapshot

IGNORED = -100
_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
#: What callers of other processors pass, and what it may be here.
_ALLOWED = {"return_tensors": ("pt", "auto", None), "padding": (True, "longest", None)}
_EMPTY = (None, False, {}, [])


class PalProcessor(ProcessorMixin):
    """Tokenizer, prompt form and audio front ends of a model.

    Args:
        tokenizer: of the LLM.
        encoders: the front ends, `{name: {"type": ..., "features": {...}}}`.
        prompt, system: `TextFormat`.
        audio_place: `llm.conversation.AUDIO_PLACES`.
    """

    attributes = ["tokenizer"]  # noqa: RUF012 - as transformers has it
    tokenizer_class = "AutoTokenizer"
    audio_token = "<audio>"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        encoders: Mapping[str, Mapping[str, Any]],
        prompt: str = CHAT,
        system: str | None = None,
        audio_place: str = "front",
    ) -> None:
        super().__init__(tokenizer, chat_template=tokenizer.chat_template)
        self.text = TextFormat(tokenizer, prompt, system)
        self.frontend = AudioFrontend({name: dict(entry) for name, entry in encoders.items()})
        self.audio_place = audio_place
        self.facts = {
            "processor_class": PROCESSOR,
            "encoders": {name: dict(entry) for name, entry in encoders.items()},
            "prompt": prompt,
            "system": system,
            "audio_place": audio_place,
        }

    # From and to disk

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> PalProcessor:
        """The processor of a model's folder, or of one that `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: a folder, or `owner/name` of the hub.
            kwargs: replace settings of processor_config.json; others are transformers' and ignored.

        Raises:
            ValueError: no processor_config.json in it.
        """
        folder = snapshot(str(pretrained_model_name_or_path), _FILES)
        file = folder / PROCESSOR_CONFIG
        if not file.is_file():
            raise ValueError(
                f"{folder} has no {PROCESSOR_CONFIG}; expected a folder of AudioLLM.save_pretrained"
                " (save the model again if an older version wrote it)"
            )
        facts = json.loads(file.read_text("utf-8"))
        names = ("encoders", "prompt", "system", "audio_place")
        settings = {name: kwargs.get(name, facts[name]) for name in names}
        return cls(load_tokenizer(folder), **settings)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Writes the tokenizer's files and processor_config.json.

        Raises:
            ValueError: `push_to_hub`, which the model's folder as a whole is for.
        """
        _refuse(kwargs, {})
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        file = folder / PROCESSOR_CONFIG
        file.write_text(json.dumps(self.facts, indent=2) + "\n", "utf-8")
        return [str(file)]

    def to_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The content of processor_config.json."""
        return json.loads(json.dumps(self.facts))

    # To tensors

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        add_generation_prompt: bool | None = None,
        return_labels: bool = False,
        padding_side: str | None = None,
        sampling_rate: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a batch of them, as text or tensors.

        Args:
            conversation: messages (docs/conversations.md). A clip may also be a data URI, the
                `input_audio` or `audio_url` of OpenAI, or stand under `path` or `base64`.
            tokenize: False: text, with `audio_token` where a clip stands.
            return_dict: False: the ids alone.
            add_generation_prompt: behind a last user message always stands what opens the answer;
                True or False is an error where the messages end otherwise.
            return_labels: for training: `labels`, -100 outside of answers.
            padding_side: None: "right" with labels, else "left".
            sampling_rate: of arrays that come without one.
            kwargs: what other processors take, as far as it changes nothing here.

        Raises:
            ValueError: see `read_messages` and `audio_parts.read_parts`; an unknown argument; a
                last message of another role; labels without an answer.
        """
        _refuse({"chat_template": chat_template, **kwargs}, _ALLOWED)
        single = is_one_conversation(conversation)
        batch = [conversation] if single else list(conversation)
        read = gather(
            self.text,
            [read_parts(messages, sampling_rate) for messages in batch],
            self.audio_place,
        )
        _check_end(read, add_generation_prompt, return_labels)
        if not tokenize:
            texts = [self._rendered(read, row) for row in range(len(read.ids))]
            return texts[0] if single else texts
        made = self._tensors(read, return_labels, padding_side)
        return made if return_dict else made["input_ids"]

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: None = None,
        videos: None = None,
        audio: Any = None,
        *,
        padding_side: str = "left",
        sampling_rate: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Rendered prompts and their clips as tensors; control tokens in the text are meant.

        Args:
            text: what `apply_chat_template(..., tokenize=False)` gives, one or several.
            audio: one clip or a list of them, in the order of the `audio_token`s of all texts; or
                a list of lists, one for each text.
            padding_side, sampling_rate: see `apply_chat_template`.

        Raises:
            ValueError: no text, images or videos, an unknown argument, or more or fewer clips than
                `audio_token`s.
        """
        _refuse({"images": images, "videos": videos, **kwargs}, _ALLOWED)
        texts = [text] if isinstance(text, str) else list(text or ())
        if not texts or not all(isinstance(one, str) for one in texts):
            raise ValueError(f"expected a text, or several, got {text!r:.120}")
        clips = [
            clip_of(clip, f"audio[{number}]", sampling_rate)
            for number, clip in enumerate(_clips(audio))
        ]
        pieces = [one.split(self.audio_token) for one in texts]
        marks = sum(len(of_text) - 1 for of_text in pieces)
        if marks != len(clips):
            raise ValueError(
                f"the text has {marks} times {self.audio_token}, and there are {len(clips)} clips"
            )
        ids, places = [], []
        for of_text in pieces:
            row, at = [], []
            for number, piece in enumerate(of_text):
                if number:
                    at.append(len(row))
                if piece:
                    row += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
            ids.append(row)
            places.append(at)
        learned = [[False] * len(row) for row in ids]
        read = Conversations(ids, learned, clips, clip_places(places, range(len(clips))))
        return self._tensors(read, False, padding_side)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that this processor makes."""
        clip = {"features": torch.empty(0), "frames": torch.empty(0), "windows": torch.empty(0)}
        places = ClipPlaces(torch.empty(0), torch.empty(0))
        audio = tensors.flat(dict.fromkeys(self.frontend.features, clip), places)
        return ["input_ids", "attention_mask", *audio]

    def _tensors(self, read: Conversations, labels: bool, side: str | None) -> BatchFeature:
        side = side or ("right" if labels else "left")
        ids, mask = pad_ids(read.ids, side, self.text.pad_id, torch.device("cpu"))
        made: dict[str, Tensor] = {"input_ids": ids, "attention_mask": mask}
        if labels:
            answers = pad_ids(read.learned, side, False, torch.device("cpu"))[0]
            made["labels"] = ids.masked_fill(~answers.bool(), IGNORED)
        if read.places is not None:
            made |= tensors.flat(self.frontend.joined({"audio": read.clips}), read.places)
        return BatchFeature(made)

    def _rendered(self, read: Conversations, row: int) -> str:
        ids, at, text = read.ids[row], 0, ""
        for place in _places_of(read, row):
            text += self._decoded(ids[at:place]) + self.audio_token
            at = place
        return text + self._decoded(ids[at:])

    def _decoded(self, ids: list[int]) -> str:
        if not ids:
            return ""
        return self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )


def _places_of(read: Conversations, row: int) -> list[int]:
    if read.places is None:
        return []
    here = read.places.index[row] >= 0
    return read.places.places[row][here].tolist()


def _clips(audio: Any) -> list[Any]:
    """The clips of `audio=` in order."""
    if audio is None:
        return []
    if is_one_clip(audio) or hasattr(audio, "shape"):
        return [audio]
    clips = []
    for entry in audio:
        nested = isinstance(entry, list | tuple) and not is_one_clip(entry)
        clips += list(entry) if nested else [entry]
    return clips


def _check_end(read: Conversations, opens: bool | None, labels: bool) -> None:
    for row, learned in enumerate(read.learned):
        if opens and learned[-1]:
            raise ValueError(
                f"conversation {row} ends with an answer, and add_generation_prompt=True is for "
                "one that ends with a question"
            )
        if opens is False and not learned[-1]:
            raise ValueError(
                f"conversation {row} ends with a question, behind which the answer is opened; "
                "expected add_generation_prompt=True"
            )
        if labels and not any(learned):
            raise ValueError(f"conversation {row} has no answer to learn from")


def _refuse(given: Mapping[str, Any], allowed: Mapping[str, tuple]) -> None:
    """Raises ValueError for an argument that would have no effect here."""
    for name, value in given.items():
        if isinstance(value, list | dict) and not value:
            continue
        known = allowed.get(name, _EMPTY)
        if not any(value is one or (value == one and type(value) is type(one)) for one in known):
            raise ValueError(f"{name}={value!r:.80} is not supported by PalProcessor")
