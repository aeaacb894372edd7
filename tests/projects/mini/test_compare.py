"""The table and the bootstrap, against figures worked out by hand; and run_all's bookkeeping."""

import json

import numpy as np
import pytest
import yaml

DOMAIN_SIZES = {"esc10": 20, "digits": 40}


def write_run(folder, kind, seed, right_share, masked=True):
    """A run folder in which the first `right_share` of each domain's clips are right."""
    (folder / "result").mkdir(parents=True)
    config = {"model": {"model_type": kind}, "run": {"seed": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = []
    for domain, count in DOMAIN_SIZES.items():
        for i in range(count):
            answer = f"{domain} {i % 4}"
            right = i < right_share[domain] * count
            row = {
                "id": f"{domain}-{i}.wav#0",
                "question_type": domain,
                "reference": answer,
                "answers": [answer],
                "prediction": answer.upper() if right else "nothing",
            }
            if masked:
                row["prediction_masked"] = f"{domain} 0"
            rows.append(json.dumps(row))
    (folder / "result" / "val.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def test_a_run_that_was_evaluated_in_part_is_refused(script, tmp_path, capsys):
    folder = write_run(tmp_path / "a", "lal", 0, {"esc10": 0.9, "digits": 1.0})
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["run"]["eval_limit"] = 100
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert script("compare").main([str(folder)]) == 2
    assert "a part of the clips (run.eval_limit)" in capsys.readouterr().err


def test_table(script, tmp_path, capsys):
    compare = script("compare")
    write_run(tmp_path / "a", "lal", 0, {"esc10": 0.9, "digits": 1.0})
    write_run(tmp_path / "b", "lal", 1, {"esc10": 0.7, "digits": 1.0})
    write_run(tmp_path / "c", "plits", 0, {"esc10": 0.5, "digits": 0.5})
    svm = tmp_path / "svm.json"
    svm.write_text(json.dumps({"esc10": {"accuracy": 0.8}, "digits": {"accuracy": 0.5}}))
    folders = [str(tmp_path / name) for name in "abc"]
    assert compare.main([*folders, "--svm", str(svm)]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in lines[:5]
    }
    assert cells["domain"][1:3] == ["PLITS", "LAL"]
    #                     clips   PLITS   LAL            masked          chance  SVM
    assert cells["esc10"] == ["20", "50.0", "80.0 ± 14.1", "25.0", "25.0 ± 0.0", "25.0", "80.0"]
    assert cells["digits"] == ["40", "50.0", "100.0 ± 0.0", "25.0", "25.0 ± 0.0", "25.0", "50.0"]
    assert cells["all clips"][:3] == ["60", "50.0", "93.3 ± 4.7"]
    assert cells["all clips"][-2:] == ["25.0", "60.0"]
    assert "PLITS 1, LAL 2" in "\n".join(lines)
    assert "LAL minus PLITS, 60 pooled clips, paired bootstrap: +43.3 points" in lines[-1]


def test_bootstrap_agrees_with_the_normal_approximation(script, tmp_path):
    compare = script("compare")
    lal = compare.read_run(write_run(tmp_path / "a", "lal", 0, {"esc10": 0.6, "digits": 0.6}))
    plits = compare.read_run(write_run(tmp_path / "b", "plits", 0, {"esc10": 0.5, "digits": 0.5}))
    found = compare.paired_bootstrap([lal], [plits])
    differences = np.array([lal.right[clip] - plits.right[clip] for clip in lal.right])
    error = differences.std() / np.sqrt(len(differences))
    assert found["difference"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1 - 1.96 * error, abs=0.02)
    assert found["high"] == pytest.approx(0.1 + 1.96 * error, abs=0.02)
    same = compare.paired_bootstrap([lal], [lal])
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_runs_that_do_not_belong_together_are_refused(script, tmp_path, capsys):
    compare = script("compare")
    whole = {"esc10": 1.0, "digits": 1.0}
    first = write_run(tmp_path / "a", "lal", 0, whole)
    twin = write_run(tmp_path / "b", "lal", 0, whole)
    assert compare.main([str(first), str(twin)]) == 2
    assert "2 runs of type lal with seed 0" in capsys.readouterr().err
    other = write_run(tmp_path / "c", "pal", 0, whole)
    results = other / "result" / "val.jsonl"
    results.write_text("\n".join(results.read_text().splitlines()[:-1]))
    assert compare.main([str(first), str(other)]) == 2
    assert "not evaluated on the same clips" in capsys.readouterr().err
    unmasked = write_run(tmp_path / "d", "pal", 0, whole, masked=False)
    assert compare.main([str(first), str(unmasked)]) == 2
    assert "run.masked_audio=true" in capsys.readouterr().err
    assert compare.main([str(tmp_path)]) == 2
    assert "is the run finished?" in capsys.readouterr().err


def test_run_all_skips_what_is_finished_and_keeps_what_is_not(
    script, tmp_path, monkeypatch, capsys
):
    run_all = script("run_all")
    started = []

    def train(command, cwd):
        name = command[command.index("--job-id") + 1]
        started.append((name, command[command.index("--options") + 1 :]))
        (tmp_path / name).mkdir()
        return 3 if len(started) == 4 else 0  # the last one fails the first time

    monkeypatch.setattr(run_all.subprocess, "call", train)
    arguments = ["--types", "plits", "lal", "--seeds", "0", "1", "--output", str(tmp_path)]
    arguments += ["--options", "run.init_lr=0.1"]
    assert run_all.main(arguments) == 3
    assert [name for name, _ in started] == [
        "mini_plits-seed0",
        "mini_lal-seed0",
        "mini_plits-seed1",
        "mini_lal-seed1",
    ]
    assert started[0][1] == ["run.seed=0", f"run.output_dir={tmp_path}", "run.init_lr=0.1"]
    assert run_all.main(arguments) == 0
    assert (tmp_path / "mini_lal-seed1-interrupted-1").is_dir()
    assert json.loads((tmp_path / "mini_lal-seed1" / "finished.json").read_text())["options"] == [
        "run.init_lr=0.1"
    ]
    before = len(started)
    assert run_all.main(arguments) == 0
    assert len(started) == before
    assert run_all.main([*arguments, "run.seed=5"]) == 2
    assert "was trained with" in capsys.readouterr().err
