"""`results.py`: one start for all, and the page: finished runs, what is missing, words by hand."""

import json

import pytest


@pytest.fixture
def write(module, tmp_path):
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()

    def run(*more):
        argv = ["write", "--output", str(tmp_path / "runs"), "--page", str(page), *more]
        argv += ["--kept", str(tmp_path / "kept")]
        return module("results").main(argv)

    run.page = page
    return run


def test_the_page_before_anything_is_trained(write, capsys):
    assert write() == 0
    text = write.page.read_text().replace("\n", " ")
    assert "0 trainings are in the tables. Still missing: plits-seed0, lal-seed0" in text
    assert "Not counted yet" in text
    assert "`ceiling.json` of `projects/pal/small/ceiling.py`" in text
    assert "0 runs; missing: plits-seed0" in capsys.readouterr().out
    assert "![" not in text


def test_the_page_of_five_runs(write, five_runs, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "mfcc_svm.json").write_text('{"esc10": {"accuracy": 0.5, "n": 4}}')
    costs = {
        "workload": {"clips": 16, "clip_s": 5.0, "text": 24, "answer": 6},
        "rounds": 3,
        "types": {
            "lal": {
                "step_flops": 2e12,
                "answer_flops": 1.5e10,
                "audio_tokens": 75,
                "trainable": 2_340_000,
                "times": {"step": [0.5, 0.4, 0.6], "answer": [0.9, 0.8, 1.0]},
            }
        },
    }
    (tmp_path / "runs" / "costs.json").write_text(json.dumps(costs))
    assert write("--baselines", str(tmp_path)) == 0
    lines = [line.strip("| ") for line in write.page.read_text().splitlines()]
    text = write.page.read_text().replace("\n", " ")
    assert "5 trainings are in the tables (seeds: PLITS 0, 1; LAL 0, 1; Flamingo 0)" in text
    missing = "pal-seed0, both-seed0, both-seed1, plits-seed2, lal-seed2, both-seed2"
    assert f"Still missing: {missing}." in text
    assert "600 steps of 16 clips, batches of pal_mini 1, pal_spoken 1, rate 0.001" in text
    assert "10 questions about 10 clips" in text
    #      clips  PLITS                    LAL
    start = "| all | 8 | 50.0 ± 0.0 [12.5, 87.5] | 87.5 ± 17.7 ["
    assert start in text
    (pooled,) = (line for line in lines if line.startswith(start.strip("| ")))
    assert pooled.endswith("] | 0.0 [0.0, 0.0] | 50.0")  # Flamingo and chance
    assert "ESC-10 | 4 | 50.0 ± 0.0 [0.0, 100.0] | 100.0 ± 0.0 [100.0, 100.0]" in text
    assert "all | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0" in lines  # with the audio masked
    assert "| sentences | 2 | 0.250 ± 0.000 [0.000, 0.500] | 0.125 ± 0.177 [0.000, 0.250]" in text
    assert "| LAL | 2 | +37.5 [" in text
    assert "| Flamingo | 1 | -50.0 [-87.5, -12.5] | -25.0 [" in text
    assert "MFCC + SVM | 50.0 [0.0, 100.0]" in lines
    assert "LAL | 75 | 2.34 M | 2,000 | 15.0 | 0.50 [0.40, 0.60] | 0.90 [0.80, 1.00]" in lines
    assert "side by side in one process in 3 rounds" in text
    assert "Flamingo behind PLITS: seen by ranking" in text
    assert (write.page.parent / "figures" / "results_curves.png").is_file()
    assert "![Training loss over steps by type](figures/results_curves.png)" in text


def test_what_was_written_by_hand_stays(write, capsys):
    assert write() == 0
    begin, end = "<!-- by hand: begin -->", "<!-- by hand: end -->"
    text = write.page.read_text().replace(f"{end}\n", f"My words.\n{end}\n")
    assert text.index(begin) < text.index("My words.")
    write.page.write_text(text)
    assert write() == 0
    assert write.page.read_text() == text
    write.page.write_text(text.replace(end, ""))
    assert write() == 2
    assert "once each, around what a person wrote" in capsys.readouterr().err
    assert write.page.read_text() == text.replace(end, "")


def test_errors_are_told_in_a_line(module, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("PAL_DATA", raising=False)
    (tmp_path / "lal-seed0").mkdir()
    (tmp_path / "lal-seed0" / "config.yaml").write_text("run: {}\n")
    argv = ["run", "--output", str(tmp_path), "--options", "model.checkpoint=null"]
    assert module("results").main(argv) == 2
    assert "PAL_DATA" in capsys.readouterr().err


def test_all_begin_with_the_newest_aligned_connector(module, monkeypatch, tmp_path, capsys):
    results, asked = module("results"), []
    monkeypatch.setattr(results, "train_all", lambda runs, options, hours: asked.append(options))
    monkeypatch.chdir(tmp_path)
    assert results.main(["run"]) == 2
    assert "no trained run of 'small_align'" in capsys.readouterr().err
    given = tmp_path / "given.safetensors"
    given.touch()
    results.main(["run", "--start", "given.safetensors", "--options", "run.log_freq=5"])
    results.main(["run", "--options", "model.checkpoint=null"])
    assert asked == [[f"model.checkpoint={given}", "run.log_freq=5"], ["model.checkpoint=null"]]
