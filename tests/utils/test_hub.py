"""Files by name: a path is taken as it is, a hub id is fetched, and what fails says what to do."""

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pal_plugin.encoders import Whisper, build_encoder
from pal_plugin.utils.hub import HubError, fetch, is_hub_id, snapshot

TINY = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub in a folder: `hub.files` is what there is, `hub.asked` what was asked for."""

    class Hub:
        def __init__(self):
            self.files: dict[str, bytes] = {}
            self.asked: list[tuple[str, list[str]]] = []
            self.error: Exception | None = None

        def snapshot_download(self, name, *, allow_patterns):
            self.asked.append((name, allow_patterns))
            if self.error:
                raise self.error
            folder = tmp_path / "cache"
            folder.mkdir(exist_ok=True)
            wanted = huggingface_hub.utils.filter_repo_objects(
                self.files, allow_patterns=allow_patterns
            )
            for file in wanted:
                (folder / file).write_bytes(self.files[file])
            return str(folder)

    fake = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def http_error(kind, status: int):
    request = httpx.Request("GET", "https://hub/api")
    return kind("refused", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("openai/whisper-small", True),
        ("laion/clap-htsat-unfused", True),
        ("meta-llama/Llama-3.2-1B", True),
        ("gpt2", False),
        ("a/b/c", False),
        ("./a/b", False),
        ("/a/b", False),
        ("~/models", False),
        ("output/sslam.safetensors", False),
        ("output/eat.pt", False),
        ("pocket://llm", False),
    ],
)
def test_what_reads_like_a_hub_id(name, is_one):
    assert is_hub_id(name) is is_one


def test_what_exists_is_never_fetched(hub, tmp_path, monkeypatch):
    (tmp_path / "openai" / "whisper-small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for get in (fetch, lambda name: snapshot(name, ["*"])):
        assert get("openai/whisper-small").samefile(tmp_path / "openai" / "whisper-small")
        assert get("~/openai").samefile(tmp_path / "openai")
        assert get(str(tmp_path)) == tmp_path
    assert hub.asked == []


def test_only_what_is_needed_is_fetched_and_safetensors_are_preferred(hub):
    wanted = ["config.json", "model.safetensors", "model.safetensors.index.json"]
    wanted += ["model-00001-of-00002.safetensors"]
    other = ["README.md", "tokenizer.json", "flax_model.msgpack", "pytorch_model.bin"]
    other += ["model.fp32-00001-of-00002.safetensors", "model.safetensors.index.fp32.json"]
    hub.files = dict.fromkeys(wanted + other, b"x")
    folder = fetch("openai/whisper-large-v3")
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)
    assert [name for name, _ in hub.asked] == ["openai/whisper-large-v3"]


def test_torch_files_are_fetched_where_there_is_nothing_else(hub):
    hub.files = dict.fromkeys(["config.json", "pytorch_model.bin", "tf_model.h5"], b"x")
    names = {path.name for path in fetch("some/old").iterdir()}
    assert names == {"config.json", "pytorch_model.bin"}


def test_a_repository_without_weights_is_explained(hub):
    hub.files = {"config.json": b"{}", "weights.ckpt": b"x"}
    says = r"'some/odd' has neither model\.safetensors.*hf download some/odd"
    with pytest.raises(HubError, match=says):
        fetch("some/odd")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(GatedRepoError, 403), r"is gated.*on its page there.*hf auth login"),
        (http_error(RepositoryNotFoundError, 404), r"nor on the Hugging Face hub.*spelling"),
        (
            OfflineModeIsEnabled("HF_HUB_OFFLINE is set"),
            r"cannot download.*HF_HUB_OFFLINE is",
        ),
        (LocalEntryNotFoundError("no connection\nat all"), r"cannot download.*no connection\. On"),
        (httpx.ConnectError("refused"), r"cannot download.*not in the cache: refused\."),
        (OSError("disk full"), r"cannot download.*disk full\."),
    ],
)
def test_failed_downloads_say_how_to_get_the_files(hub, error, message):
    hub.error = error
    for get in (fetch, lambda name: snapshot(name, ["*"])):
        with pytest.raises(HubError, match=message) as raised:
            get("a/b")
        assert "`hf download a/b --local-dir DIR`" in str(raised.value)
        assert "`checkpoint: DIR`" in str(raised.value)
        assert isinstance(raised.value, ValueError)


def test_a_name_that_is_neither_path_nor_id_is_not_asked_for(hub):
    for name in ("gpt2", "no/such/folder", "no/file.safetensors"):
        with pytest.raises(HubError, match="neither an existing path nor a hub id"):
            snapshot(name, ["*"])
    assert hub.asked == []
    assert str(fetch("no/file.safetensors")) == "no/file.safetensors"  # its reader explains


def test_an_encoder_is_built_from_a_hub_id(hub, tmp_path):
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 9}
    config = WhisperConfig(
        **TINY, **special, decoder_start_token_id=1, decoder_layers=1, decoder_ffn_dim=8,
        decoder_attention_heads=2, max_source_positions=25,
    )  # fmt: skip
    whole = WhisperForConditionalGeneration(config)
    whole.save_pretrained(tmp_path / "made")
    hub.files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    encoder = build_encoder("whisper", {}, "openai/whisper-pico", {"window_s": 0.5})
    assert isinstance(encoder, Whisper)
    expected = whole.model.encoder.state_dict()
    assert all(torch.equal(encoder.encoder.state_dict()[k], v) for k, v in expected.items())
    assert [name for name, _ in hub.asked] == ["openai/whisper-pico"]
