"""A decoder that dies, hangs or is flooded costs one clip, and the next is decoded."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scripted import tone

from pal_plugin.audio import decoding as in_process
from pal_plugin.audio.errors import AudioError
from pal_plugin.hosts.server.decoding import Decoder


@pytest.fixture(scope="module")
def decoder():
    decoder = Decoder(60, processes=1)
    yield decoder
    decoder.close()


def test_clips_are_those_of_this_process(decoder):
    for form in ("WAV", "FLAC", "OGG", "MP3"):
        data = tone(form=form)
        samples, rate_hz = decoder.decode(data)
        wanted, wanted_hz, _ = in_process.decode(data)
        assert rate_hz == wanted_hz
        assert samples.flags.writeable
        assert np.array_equal(samples, wanted)


def test_what_is_no_audio_is_told(decoder):
    with pytest.raises(AudioError, match="cannot decode"):
        decoder.decode(b"nix")
    with pytest.raises(AudioError, match="empty"):
        decoder.decode(b"")


def test_a_killed_decoder_is_replaced_and_the_clip_decoded(decoder):
    data = tone()
    decoder.decode(data)
    (pid,) = decoder.pids()
    os.kill(pid, signal.SIGKILL)
    assert len(decoder.decode(data)[0]) == 1600
    assert decoder.pids() != [pid]


def test_a_clip_that_kills_every_decoder_is_refused(decoder):
    killing = threading.Event()

    def kill_all():
        killed = set()
        while not killing.is_set():
            for pid in set(decoder.pids()) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.001)

    thread = threading.Thread(target=kill_all)
    thread.start()
    try:
        with pytest.raises(AudioError, match=r"crashed twice on this clip of \d+ bytes \(SIGKILL"):
            decoder.decode(tone())
    finally:
        killing.set()
        thread.join()
    assert len(decoder.decode(tone())[0]) == 1600


def test_one_that_takes_too_long_is_ended():
    slow = Decoder(60, processes=1)
    try:
        slow.decode(tone())
        os.kill(slow.pids()[0], signal.SIGSTOP)
        slow.seconds = 0.05
        with pytest.raises(AudioError, match=r"took more than 0.05 s"):
            slow.decode(tone())
        slow.seconds = 60
        assert len(slow.decode(tone())[0]) == 1600
    finally:
        slow.close()
    assert slow.pids() == []


def test_keys_of_the_server_are_not_in_its_decoders(decoder, monkeypatch):
    decoder.decode(tone())
    with open(f"/proc/{decoder.pids()[0]}/environ", "rb") as file:
        names = {line.partition(b"=")[0] for line in file.read().split(b"\0")}
    assert names <= {b"", b"PATH", b"HOME", b"LANG", b"PYTHONPATH", b"OMP_NUM_THREADS", b"LC_CTYPE"}


@pytest.mark.slow
def test_a_file_that_unpacks_to_gigabytes_is_refused():
    import io

    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 192000, 8, format="FLAC", subtype="PCM_16") as sound:
        block = np.zeros((192000 * 10, 8), np.int16)
        for _ in range(60):
            sound.write(block)  # 600 s, 3.7 GB decoded
    decoder = Decoder(300, processes=1)
    try:
        with pytest.raises(AudioError, match="takes too much memory"):
            decoder.decode(file.getvalue())
        assert len(decoder.decode(tone())[0]) == 1600
    finally:
        decoder.close()


def test_several_clips_at_a_time(decoder):
    clips = [tone(0.1 * n) for n in range(1, 6)]
    with ThreadPoolExecutor(5) as pool:
        lengths = [len(samples) for samples, _ in pool.map(decoder.decode, clips)]
    assert lengths == [1600 * n for n in range(1, 6)]
