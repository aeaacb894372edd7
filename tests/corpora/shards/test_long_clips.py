"""A clip of two hours: converted, counted, and heard up to a stated limit, in bounded memory."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from pal_plugin.commands.main import main

RATE_HZ, SECONDS = 8000, 7200

#: In a process of its own, as the peak of memory is the process's.
_PROGRAM = """
import json, logging, resource, sys
import torch
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.corpora.shards.convert import convert
from pal_plugin.corpora.shards.reading import find_shards
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream

def mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

logging.basicConfig(format="%(message)s")
entries = {"clap": {"window_s": 10.0, "max_s": 30.0}, "whisper": {"max_s": 60.0}}
frontend = AudioFrontend({name: {"type": name, "features": e} for name, e in entries.items()})
frontend((torch.zeros(16000), 16000))  # what is made once is no part of the peak
audio, rows, out = sys.argv[1:]
before = mib()
index = convert("own", audio, [rows], out, workers=1, progress=False)
converted = mib()
shards = find_shards(out)
mix = QuestionMix({"classification": 1.0})
clip = next(iter(ShardStream(shards.urls, shards.clips, frontend, str, mix, train=True)))
windows = {name: len(made["frames"]) for name, made in clip["audio"].items()}
print(json.dumps({
    "seconds": index["seconds"], "windows": windows,
    "convert_mib": converted - before, "train_mib": mib() - before,
}))
"""


@pytest.mark.slow
def test_two_hours_go_from_file_to_training(tmp_path, capsys):
    folder, out = tmp_path / "audio", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(folder / "long.flac", "w", RATE_HZ, 1, "PCM_16") as file:
        block = np.zeros(60 * RATE_HZ, np.int16)
        block[: 5 * RATE_HZ] = rng.integers(-300, 300, 5 * RATE_HZ)
        for _ in range(SECONDS // 60):
            file.write(block)
    (tmp_path / "rows.csv").write_text("audio,label\nlong.flac,hum\n")

    command = [sys.executable, "-c", _PROGRAM, folder, tmp_path / "rows.csv", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["seconds"] == SECONDS
    assert made["windows"] == {"clap": 3, "whisper": 2}
    decoded_mib = 4 * RATE_HZ * SECONDS / 2**20  # 220 MiB of float32
    assert made["convert_mib"] < 4 * decoded_mib
    assert made["train_mib"] < 4 * decoded_mib
    for limit, name in ((30, "clap"), (60, "whisper")):
        told = rf"is 7200.00 s long; truncating it to {limit} s for {name}"
        assert re.search(told, done.stderr)

    assert main(["data", "stats", str(out)]) == 0
    assert "seconds      7200.00 to 7200.00" in capsys.readouterr().out
