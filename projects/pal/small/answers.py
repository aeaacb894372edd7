"""A model's answers about the package's clips, with the audio and with it masked.

    python projects/pal/small/answers.py latest:small_lal            # the newest run, or a folder
    python projects/pal/small/answers.py small                       # a model type

For a sound or an instrument it also ranks the ten labels of that kind by likelihood per token, as
in evaluation; the percentage is the share of the first one in the likelihood of all ten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from pal_plugin.clips import Clip, clips
from pal_plugin.config.trained import resolve_checkpoint
from pal_plugin.config.zoo import MODEL_TYPES
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.tables import text_table

#: Candidate labels by question.
NAMES = {
    "What do you hear?": (
        *("chainsaw", "clock tick", "crackling fire", "crying baby", "dog"),
        *("helicopter", "rain", "rooster", "sea waves", "sneezing"),
    ),
    "Which instrument plays?": (
        *("acoustic guitar", "bass drum", "cello", "clarinet", "double bass"),
        *("flute", "hi hat", "saxophone", "snare drum", "violin or fiddle"),
    ),
}


def asked(model: AudioLLM, clip: Clip, masked: bool = False) -> tuple[str, str]:
    """`(generated answer, top-ranked label)` of a clip."""
    samples = {"audio": [clip.path], "text_input": [clip.question]}
    if masked:
        samples["audio_mask"] = [False]
    said = model.generate(samples, max_new_tokens=32)[0]
    names = NAMES.get(clip.question)
    return said, ranked(model, samples, names) if names else ""


def ranked(model: AudioLLM, samples: dict, names: tuple[str, ...]) -> str:
    """The name of highest likelihood per token, with its share in the likelihood of all."""
    found = model.predict_class(samples, names)
    best = found["predictions"][0]
    return f"{best} {found['probabilities'][0, names.index(best)]:.0%}"


def table(model: AudioLLM) -> str:
    """A text table with a row per clip."""
    rows = [("clip", "it is", "it says", "it ranks first", "masked, it says", "it ranks first")]
    for clip in tqdm(clips(), desc="clips", leave=False):
        with_audio, without = asked(model, clip), asked(model, clip, masked=True)
        rows.append((clip.name, clip.label, *with_audio, *without))
    return text_table([tuple(_short(cell) for cell in row) for row in rows], "llllll")


def _short(text: str, most: int = 44) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about = "latest:RECIPE, a run folder, a .safetensors file, or a model type"
    parser.add_argument("model", help=about)
    name = parser.parse_args().model
    try:
        if name in MODEL_TYPES and not Path(name).exists():
            model = AudioLLM.from_pretrained(name)
        else:
            model = AudioLLM.from_run(resolve_checkpoint(name, "output"))
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(model.eval()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
