"""The audio-LLM: encoders, a connector per group, a routing table and an LLM.

PLITS, LAL, PAL and Flamingo are not four classes but four routing tables of this one. It does not
depend on LAVIS; `hosts/lavis/models.py` registers it there.

Shapes: C clips, R text rows (several rows may share a clip), n text tokens, D LLM width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pal_plugin.attention.keys_values import precompute
from pal_plugin.audio.io import is_one_clip
from pal_plugin.batch import Batch
from pal_plugin.encoders.base import by_output, encoder_of
from pal_plugin.encoders.cache import encode_audio
from pal_plugin.integration import LLMInputs, RoutedAudio, flamingo, route
from pal_plugin.llm.families import embedding_scale
from pal_plugin.llm.head import logits_of
from pal_plugin.models import alignment, asked
from pal_plugin.models.audio_kv import STORES, AudioKV
from pal_plugin.models.batching import pad_ids, which_clip
from pal_plugin.models.context_length import check_context, check_rows
from pal_plugin.models.conversations import Conversations, tokenized
from pal_plugin.models.fingerprint import Fingerprint
from pal_plugin.models.pretrained import StoredModel
from pal_plugin.models.ranked import ranked
from pal_plugin.models.text_rows import is_chat, labelled_rows, prompt_rows
from pal_plugin.models.windows import joinable, merge_windows, overlap_of
from pal_plugin.types import AudioTokens

EncodedAudio = dict[str, AudioTokens]


class AudioLLM(StoredModel):
    """An LLM with audio input; for its arguments see `ModelComponents`.

    Attributes:
        columns_in: audio tokens of a batch are padded to a multiple of this, since batches differ
            in their longest clip, and a compiled LLM recompiles for every length.
    """

    columns_in = 1

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        return Fingerprint()

    # Audio

    def encode_audio(self, samples: Batch) -> EncodedAudio:
        """Audio tokens of the batch's clips by group, features `[C, N, D]`.

        The result may be passed as `samples["audio_tokens"]` in further calls on the same clips.

        Raises:
            ValueError: if `samples` has no audio.
        """
        audio = self.frontend.joined(samples)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage.encoders == "full"):
            tokens = {}
            for name, given in encode_audio(self.encoders, self.caches, audio):
                tokens |= by_output(name, self.encoders[name], given)
        encoded = {}
        for group, connector in self.connectors.items():
            names = self.groups[group]
            encoders = [encoder_of(n) for n in names]
            windows = audio[encoders[0]]["windows"]
            if any(not torch.equal(audio[e]["windows"], windows) for e in encoders):
                raise ValueError(
                    f"encoders {encoders} of one group need the same windows, got "
                    f"{ {e: audio[e]['windows'].tolist() for e in encoders} } per clip"
                )
            overlap = overlap_of(
                connector,
                [self.encoders[e] for e in encoders],
                [self.frontend.features[e] for e in encoders],
                tokens[names[0]],
            )
            read = {n: tokens[n] for n in names}
            if overlap is not None:
                read = {n: joinable(part, windows) for n, part in read.items()}
            encoded[group] = merge_windows(connector(read), windows, overlap).padded(
                self.columns_in
            )
        return encoded

    def _audio_rows(self, samples: Batch, rows: int) -> EncodedAudio:
        """Audio tokens per text row, with rows of `audio_mask` masked out."""
        encoded = samples.get("audio_tokens") or self.encode_audio(samples)
        clips = len(next(iter(encoded.values())))
        index = which_clip(samples, clips, rows)
        heard = samples.get("audio_mask")
        if heard is not None and len(heard) != rows:
            raise ValueError(f"audio_mask has {len(heard)} entries for {rows} questions")
        if heard is not None and index is None and clips != rows:  # rows of a clip may differ
            index = torch.arange(clips).repeat_interleave(rows // clips)
        result = {}
        for group, tokens in encoded.items():
            if index is not None:
                tokens = tokens.select(index).trimmed().padded(self.columns_in)
            if heard is not None:
                heard = torch.as_tensor(heard, dtype=torch.bool, device=tokens.mask.device)
                mask = tokens.mask & heard[:, None]
                tokens = replace(tokens, mask=mask)
            result[group] = tokens
        return result

    def encode(self, audio: Any, store: str = "kv") -> AudioKV:
        """Encodes clips once, for any number of questions: `model.ask(model.encode(clip), ...)`.

        Args:
            audio: one or several clips, as in `ask`, or the output of the audio processor.
            store: "kv" (fast) or "features" (small); see `models/audio_kv.py` for sizes.

        Raises:
            ValueError: if the store is unknown, or the audio unusable.
        """
        if store not in STORES:
            raise ValueError(f"unknown store {store!r}; known: {', '.join(STORES)}")
        if audio is None:
            asked.check_clip(audio)
        with torch.no_grad():
            encoded = self.encode_audio({"audio": [audio] if is_one_clip(audio) else audio})
            routed = route(encoded, self.routing, self.llm.dtype, self.gains)
            if store == "kv":
                routed = RoutedAudio(
                    routed.prefix,
                    routed.audio and precompute(self.llm, routed.audio),
                    routed.cross_audio
                    and flamingo.precompute(self.cross_attention, routed.cross_audio),
                )
        return AudioKV(routed, self.fingerprint())

    def load_audio(self, path: str | Path) -> AudioKV:
        """Loads an `AudioKV` file. Raises ValueError if other weights encoded it."""
        return AudioKV.load(path, self.fingerprint(), str(self.device))

    def fingerprint(self) -> str:
        """SHA-256 of all weights and settings that an `AudioKV` depends on."""
        return self._fingerprint.of(self)

    # Text

    def _inputs(self, samples: Batch, ids: Tensor, mask: Tensor, side: str = "right") -> LLMInputs:
        embeds = self.llm.get_input_embeddings()(ids)
        if is_chat(samples):
            return self._conversations_inputs(samples, embeds, mask, side)
        audio = samples.get("audio")
        if isinstance(audio, AudioKV):
            if samples.get("audio_mask") is not None:
                raise ValueError("audio_mask needs audio, not an AudioKV")
            if audio.weights != self.fingerprint():
                raise ValueError(
                    "this AudioKV was encoded by another model, or the weights have changed since: "
                    "encode the audio again"
                )
            index = which_clip(samples, len(audio), len(ids))
            routed = audio.routed if index is None else audio.select(index).routed
        else:
            rows = self._audio_rows(samples, len(ids))
            routed = route(rows, self.routing, embeds.dtype, self.gains)
        return routed.with_text(embeds, mask, embedding_scale(self.llm), side)

    def _conversations_inputs(
        self, samples: Batch, embeds: Tensor, mask: Tensor, side: str
    ) -> LLMInputs:
        """Inputs of conversations that were parsed (`text_rows.py`)."""
        read: Conversations = samples["conversations"].to(self.device)
        kept = samples.get("audio_mask")
        places = read.places
        if kept is not None:
            places = read.without_audio([not keep for keep in kept])
        if places is None:
            routed = RoutedAudio()
        else:
            batch = samples if read.clips is None else {"audio": read.clips}
            encoded = samples.get("audio_tokens") or self.encode_audio(batch)
            routed = route(encoded, self.routing, embeds.dtype, self.gains)
        return routed.with_text(embeds, mask, embedding_scale(self.llm), side, places)

    def prompts(self, samples: Batch) -> LLMInputs:
        """Prompts with audio, left-padded: each row ends where its answer begins.

        Raises:
            ValueError: if a question is blank, or a conversation ends with an answer.
        """
        samples, prompts = prompt_rows(self, samples)
        self.tell_untrained()
        padded = pad_ids(prompts, "left", self.text.pad_id, self.device)
        return self._inputs(samples, *padded, side="left")

    # Training

    def forward(self, samples: Batch) -> dict[str, Tensor]:
        """Loss of the answers.

        Args:
            samples: `audio`, `text_input`, `text_output`; optionally `clip_index`, `audio_mask`,
                `audio_tokens`. Or `messages`, R conversations, whose answers are all trained on;
                `text_output` then has the answers to questions at their end.

        Returns (with `stage.aligns`, those of `alignment.ctc`):
            `loss`, the mean over all answer tokens (including the end token), and `per_row_loss`
            `[R]`, the mean over each answer. Prompt and audio positions carry no loss, and their
            logits are not computed.

        Raises:
            ContextLengthError: a row is longer than the LLM's context; names it by its id.
            ValueError: texts, clips or messages are invalid.
        """
        if isinstance(samples.get("audio"), AudioKV):
            raise ValueError("an AudioKV carries no gradient: train on the audio itself")
        if torch.is_grad_enabled() and self.training:
            self.untrained = ()  # about to be trained
        if self.stage.aligns is not None and is_chat(samples):
            raise ValueError("stage.aligns needs single answers; got samples['messages']")
        samples, rows, learned = labelled_rows(self, samples)
        if self.stage.aligns is not None:
            return self._aligned(samples, self.stage.aligns)
        ids, mask = pad_ids(rows, "right", self.text.pad_id, self.device)
        is_answer = pad_ids(learned, "right", False, self.device)[0]

        hidden = self.hidden_states(samples, ids, mask)
        predicts = is_answer[:, 1:]
        logits = logits_of(self.llm, hidden[:, :-1][predicts])
        losses = nn.functional.cross_entropy(logits, ids[:, 1:][predicts], reduction="none")
        row = predicts.nonzero()[:, 0]
        per_row = losses.new_zeros(len(ids)).index_add(0, row, losses) / predicts.sum(1)
        loss = losses.mean()
        if is_chat(samples) and samples["conversations"].places is None:
            loss = loss + self._untouched()
        return {"loss": loss, "per_row_loss": per_row.detach()}

    def _untouched(self) -> Tensor | float:
        """0, with a gradient of 0 for the parameters that text alone does not use: DDP waits for
        all, and with a frozen LLM there would be nothing to differentiate."""
        names = self.named_parameters()
        parts = [p for name, p in names if p.requires_grad and not name.startswith("llm.")]
        return 0.0 * sum(part.sum() for part in parts)

    def _aligned(self, samples: Batch, group: str) -> dict[str, Tensor]:
        answers = [ids[:-1] for ids in samples["answer_ids"]]  # without the end token
        tokens = self._audio_rows(samples, len(answers))[group]
        loss, per_row = alignment.ctc(tokens, self.llm.get_input_embeddings().weight, answers)
        return {"loss": loss, "per_row_loss": per_row}

    def hidden_states(self, samples: Batch, ids: Tensor, mask: Tensor) -> Tensor:
        """The decoder's output at the text positions, `[R, n, D]`.

        Args:
            samples: as in `forward`; its texts are ignored.
            ids, mask: `[R, n]`.

        Raises:
            ContextLengthError: a row is longer than the LLM's context.
        """
        inputs = self._inputs(samples, ids, mask)
        names = samples.get("question_id") or samples.get("sample_id")
        check_rows(self.decoder.config, inputs, names)
        out = self.llm.get_decoder()(
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            position_ids=inputs.positions,
            use_cache=False,
            **inputs.audio_kwargs,
        )
        return inputs.of_text(out.last_hidden_state)

    def answer_tokens(self, samples: Batch) -> int:
        """Number of tokens that `forward` averages its loss over."""
        return sum(map(sum, labelled_rows(self, samples)[2]))

    def text_tokens(self, samples: Batch) -> int:
        """Number of text tokens of all rows, prompts and answers."""
        return sum(map(len, labelled_rows(self, samples)[1]))

    @property
    def prepare_batch(self) -> Callable[[Batch], Batch]:
        """Tokenizes a training batch; run in DataLoader workers."""
        return partial(tokenized, self.text, self.audio_place)

    def audio_seconds(self, samples: Batch) -> float:
        """Seconds of audio in a batch of features, as used by its first encoder."""
        if samples.get("audio") is None:  # text alone
            return 0.0
        name = next(iter(self.encoders))
        frames = int(samples["audio"][name]["frames"].sum())
        return frames * self.frontend.features[name].frame_s

    # Inference

    @torch.no_grad()
    def generate(
        self, samples: Batch, max_new_tokens: int = 48, audio: AudioKV | None = None, **generation
    ) -> list[str]:
        """Answers to `samples["text_input"]`, one string per row.

        Args:
            samples: as in `forward`, without `text_output`.
            audio: encoded clips (`encode`), in place of `samples["audio"]`.
            max_new_tokens: maximum length of an answer in tokens.
            generation: arguments of transformers' `generate` (`num_beams`, `do_sample`, ...).

        Raises:
            ValueError: if an argument is unknown to `generate` or out of range, a question is
                blank, the numbers of clips and questions do not match, or a prompt and its answer
                are longer than the LLM's context.
        """
        asked.check_generation(max_new_tokens, generation)
        samples = samples if audio is None else {**samples, "audio": audio}
        inputs = self.prompts(samples)
        ids = self.generate_ids(inputs, max_new_tokens=max_new_tokens, **generation)
        ids = getattr(ids, "sequences", ids)  # with return_dict_in_generate
        return [self.text.decode(row) for row in ids]

    def generate_ids(self, inputs: LLMInputs, **generation) -> Any:
        """What transformers' `generate` returns for prompts: greedy, up to an end token.

        Args:
            inputs: from `prompts`.
            generation: arguments of `generate`, which replace these defaults.

        Raises:
            ValueError: if a prompt and its answer are longer than the LLM's context.
        """
        check_context(self.decoder.config, inputs, generation.get("max_new_tokens", 0))
        defaults = {
            "do_sample": False,
            "pad_token_id": self.text.pad_id,
            "eos_token_id": self.text.end_ids,
        }
        return self.llm.generate(
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            **inputs.audio_kwargs,
            **{**defaults, **generation},
        )

    @torch.no_grad()
    def predict_class(
        self, samples: Batch, candidates: Sequence[str], audio: AudioKV | None = None
    ) -> dict:
        """Ranks candidate answers by their log-likelihood per token, given clip and question.

        Runs the prefill of clip and question once, and shares common prefixes of candidates; each
        candidate then only costs its remaining tokens.

        Args:
            samples: as in `forward`, without `text_output`.
            candidates: the possible answers.
            audio: encoded clips (`encode`), in place of `samples["audio"]`.

        Returns:
            `predictions` (list of R strings); `scores` `[R, len(candidates)]`, mean log-probability
            per token (including the end token), which decide; `probabilities` of the same shape,
            each candidate's share in the likelihood of all.

        Raises:
            ValueError: if there are no candidates, one is blank or a question is, or a prompt and a
                candidate are longer than the LLM's context.
        """
        candidates = asked.check_candidates(candidates)
        samples = samples if audio is None else {**samples, "audio": audio}
        return ranked(self.llm, self.text, self.prompts(samples), candidates)

    def chat(self, messages: Sequence[dict[str, Any]], **generation) -> str:
        """The answer to a conversation that ends with a user message.

        Args:
            messages: `[{"role": "user", "content": [{"type": "audio", "audio": "dog.wav"},
                {"type": "text", "text": "What do you hear?"}]}, ...]`; any number of clips and
                turns, each clip at its place (see `audio_place`).

        Raises:
            ValueError: see `llm.conversation.read_messages` and `generate`.
        """
        return self.generate({"messages": [messages]}, **generation)[0]

    def predict_answers(self, samples: Batch, **generation) -> list[str]:
        """LAVIS's interface for question answering: short greedy answers."""
        return self.generate(samples, **{"max_new_tokens": 16, **generation})

    def ask(self, audio, question: str, **generation) -> str:
        """Answers one question about one clip: `model.ask("dog.wav", "What do you hear?")`.

        Args:
            audio: a path, an `(array, rate in Hz)` pair (any rate, mono or stereo), or the output
                of `encode` for one clip.

        Raises:
            ValueError: if there is not exactly one clip and one question, or as `generate`.
        """
        asked.check_clip(audio)
        asked.check_question(question)
        clip = audio if isinstance(audio, AudioKV) else [audio]
        return self.generate({"audio": clip, "text_input": [question]}, **generation)[0]
