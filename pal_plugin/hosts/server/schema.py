"""Requests, as OpenAI has them: what is read, what may be there without effect, nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

#: Names of formats; the content decides, and what it is must be one that `audio/decoding` reads.
FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "aiff", "au", "caf", "m4a", "mp4", "aac", "webm")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair; expected valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class TextPart(_Strict):
    """A text in a message."""

    type: Literal["text"]
    text: Text


class InputAudio(_Strict):
    """A file in base64, and the name of its format."""

    data: str = Field(min_length=1)
    format: Literal[FORMATS]


class InputAudioPart(_Strict):
    """A clip in a message."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class AudioUrl(_Strict):
    """A data URI, or an address of a host that the server may fetch from."""

    url: str = Field(min_length=1)


class AudioUrlPart(_Strict):
    """A clip in a message, by address."""

    type: Literal["audio_url"]
    audio_url: AudioUrl


Part = Annotated[TextPart | InputAudioPart | AudioUrlPart, Field(discriminator="type")]


def _kind(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[Part], Tag("parts")], Discriminator(_kind)
]


class Message(_Strict):
    """One message. An answer of this server may be sent back as it came."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


class StreamOptions(_Strict):
    """What a stream has besides."""

    include_usage: bool | None = None


class TextFormat(_Strict):
    """Of answers."""

    type: Literal["text"]


class ChatRequest(_Strict):
    """The body of `/v1/chat/completions`."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Only with the value that is the case anyway.
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    modalities: list[Literal["text"]] | None = None
    response_format: TextFormat | None = None
    store: Literal[False] | None = None
    # Names somebody, and asks for nothing.
    user: str | None = None

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return 0 if isinstance(value, float) and value == 0 else value

    @model_validator(mode="after")
    def _fit(self) -> ChatRequest:
        if self.stop is not None and not all(self.stops()):
            raise ValueError("stop holds an empty text; expected texts that may occur")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self

    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def length(self) -> int | None:
        """The length limit that is asked for."""
        return self.max_completion_tokens or self.max_tokens


class TranscriptionForm(BaseModel):
    """The fields of `/v1/audio/transcriptions`, but for the file; values of forms are texts."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    prompt: Text | None = None
    response_format: Literal["json", "text"] = "json"
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    stream: bool = False

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str | None) -> str | None:
        if prompt is not None and not prompt.strip():
            raise ValueError("it is empty; leave it out, or write what the model shall be asked")
        return prompt
