"""A classical baseline: an SVM on MFCC statistics, on the same splits.

    PAL_DATA=FOLDER python projects/pal/mini/mfcc_svm.py > output/mfcc_svm.json

Mean and standard deviation over time of 20 MFCCs and of their first and second differences,
standardized, then an RBF kernel with scikit-learn's default width and C = 10. The front end is the
best of five that were tried on the validation clips, which favors it; and one classifier is trained
per domain, so it always knows which question is asked.
Needs scikit-learn (`pip install -e ".[eval]"`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchaudio
from tqdm import tqdm

from pal_plugin.audio.io import load_audio, resample
from pal_plugin.datasets.clips import LabelledClip, read_annotations

SPLITS = Path(__file__).with_name("splits.csv")
#: Evaluated (domain, split) by name in the metrics.
EVALUATED = {
    "esc10": ("esc10", "val"),
    "digits": ("digits", "val"),
    "digits_unseen_speaker": ("digits", "val_speaker"),
    "instruments": ("instruments", "val"),
}
COEFFICIENTS = 20


class FrontEnd(NamedTuple):
    """Sample rate, window and hop in samples, and number of mel bands of the MFCCs."""

    rate_hz: int
    n_fft: int
    hop_length: int
    n_mels: int


#: The digits were recorded at 8 kHz.
FRONT_ENDS = {
    "esc10": FrontEnd(22050, 2048, 512, 128),
    "digits": FrontEnd(8000, 512, 80, 40),
    "instruments": FrontEnd(22050, 2048, 512, 128),
}


def statistics(clip: LabelledClip, mfcc: torchaudio.transforms.MFCC, rate_hz: int) -> np.ndarray:
    """`[6 * COEFFICIENTS]`: means and standard deviations of MFCCs and their differences."""
    waveform = resample(*load_audio(clip.path), rate_hz)
    shortage = mfcc.MelSpectrogram.n_fft - waveform.numel()
    waveform = torch.nn.functional.pad(waveform, (0, max(0, shortage)))
    coefficients = mfcc(waveform)
    first = torchaudio.functional.compute_deltas(coefficients)
    second = torchaudio.functional.compute_deltas(first)
    stacked = torch.cat([coefficients, first, second])
    return torch.cat([stacked.mean(1), stacked.std(1, correction=0)]).numpy()


def domain_table(audio: Path, domain: str, split: str) -> tuple[np.ndarray, list[str]]:
    """Statistics `[clips, 6 * COEFFICIENTS]` and labels of one split."""
    rate_hz, *mel = FRONT_ENDS[domain]
    melkwargs = dict(zip(FrontEnd._fields[1:], mel, strict=True))
    mfcc = torchaudio.transforms.MFCC(rate_hz, COEFFICIENTS, melkwargs=melkwargs)
    clips = read_annotations(SPLITS, audio, where={"domain": domain, "split": split})
    bar = tqdm(clips, f"{domain} {split}", disable=not sys.stderr.isatty())
    return np.stack([statistics(c, mfcc, rate_hz) for c in bar]), [c.label for c in clips]


def evaluate(audio: Path) -> dict[str, dict[str, float]]:
    """`{name: {"accuracy", "n"}}` for every entry of EVALUATED."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    fitted, results = {}, {}
    for name, (domain, split) in EVALUATED.items():
        if domain not in fitted:
            classifier = make_pipeline(StandardScaler(), SVC(C=10.0))
            fitted[domain] = classifier.fit(*domain_table(audio, domain, "train"))
        features, labels = domain_table(audio, domain, split)
        accuracy = float(fitted[domain].score(features, labels))
        results[name] = {"accuracy": round(accuracy, 4), "n": len(labels)}
    return results


def main() -> int:
    if "PAL_DATA" not in os.environ:
        print("set PAL_DATA to the folder that holds audio/ (see README.md)", file=sys.stderr)
        return 2
    print(json.dumps(evaluate(Path(os.environ["PAL_DATA"]) / "audio"), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
