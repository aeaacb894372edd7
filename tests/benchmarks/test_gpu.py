"""`benchmarks/gpu.sh`: what it writes, its limits, and the whole of it rehearsed on the CPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

from benchmarks import gpu_report
from benchmarks.kernels import FUSED, PRODUCTS, Kernels

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
XML = """<testsuites><testsuite>
<testcase classname="tests.x" name="test_logits[cuda-llama-sdpa-bfloat16]" time="0.25">
 <properties><property name="error, left" value="0.0123456"/>
 <property name="attention, left" value="efficient"/></properties></testcase>
<testcase classname="tests.x" name="test_logits[cuda-qwen3-sdpa-bfloat16]" time="0.5">
 <properties><property name="error, left" value="inf"/></properties>
 <failure message="AssertionError: assert inf &lt; 0.06&#10;more">trace</failure></testcase>
<testcase classname="tests.x" name="test_plain"><skipped message="no flash_attn"/></testcase>
<testcase classname="" name="tests.broken"><error message="collection failure">x</error></testcase>
</testsuite></testsuites>"""


def test_the_report_tells_figures_failures_and_what_was_skipped(tmp_path, capsys):
    (tmp_path / "numerics.xml").write_text(XML)
    (tmp_path / "parts.tsv").write_text("set-up\tpassed\t3\t20\nnumerics\tfailed\t41\t100\n")
    written = gpu_report.main([str(tmp_path), str(tmp_path / "out"), "--rehearsal"])
    document = json.loads(written[0].read_text("utf-8"))
    assert all(path.name.startswith("rehearsal_gpu_cpu_") for path in written)
    assert "nothing here is a figure" in document["warning"]
    assert document["parts"][1] == {
        "part": "numerics",
        "outcome": "failed",
        "seconds": 41,
        "limit_s": 100,
    }
    outcomes = [case["outcome"] for case in document["cases"]]
    assert outcomes == ["passed", "failed", "skipped", "failed"]
    assert document["cases"][0]["figures"] == {
        "error, left": 0.0123456,
        "attention, left": "efficient",
    }
    text = written[1].read_text("utf-8")
    for line in (
        "| numerics | failed | 41 | 100 | 1 | 2 | 1 |",
        "- `test_logits[cuda-qwen3-sdpa-bfloat16]`: AssertionError: assert inf < 0.06",
        "- 1: no flash_attn",
        "| cuda-llama-sdpa-bfloat16 | passed | 0.0123 | efficient |",
        "nothing here is a figure",
    ):
        assert line in text
    assert f"wrote {written[0]}" in capsys.readouterr().out


def test_a_report_that_was_cut_short_stops_nothing(tmp_path):
    (tmp_path / "numerics.xml").write_text(XML[:300])
    assert list(gpu_report.read_cases(tmp_path / "numerics.xml")) == []


def test_a_part_that_skipped_everything_was_skipped(tmp_path):
    (tmp_path / "parts.tsv").write_text("tests\tpassed\t3\t30\nflex\tpassed\t4\t40\n")
    cases = [{"part": "tests", "outcome": "skipped"}, {"part": "flex", "outcome": "passed"}]
    parts = gpu_report.read_parts(tmp_path / "parts.tsv", cases)
    assert [part["outcome"] for part in parts] == ["skipped", "passed"]


def test_fused_kernels_are_named_and_products_are_not_one():
    rows = torch.randn(1, 2, 5, 8)
    with Kernels() as fused:
        F.scaled_dot_product_attention(rows, rows, rows)
    with Kernels() as plain, sdpa_kernel(SDPBackend.MATH):
        F.scaled_dot_product_attention(rows, rows, rows)
    assert (fused.names, plain.names) == ("flash", PRODUCTS)


def test_kernels_are_seen_behind_what_lal_gives_a_gpu():
    rows = torch.randn(1, 4, 5, 8, requires_grad=True)
    keys = torch.randn(1, 2, 9, 8)
    with Kernels() as kernels:
        bias = causal_lower_right(5, 9)
        out = F.scaled_dot_product_attention(rows, keys, keys, bias, enable_gqa=True)
        out.sum().backward()
    assert kernels.names == "flash"


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("aten::_scaled_dot_product_flash_attention", "flash"),
        ("aten::_scaled_dot_product_efficient_attention", "efficient"),
        ("aten::_scaled_dot_product_cudnn_attention", "cudnn"),
        ("aten::_efficient_attention_forward", "efficient"),
        ("aten::_scaled_dot_product_flash_attention_backward", None),
        ("aten::_scaled_dot_product_attention_math", None),
    ],
)
def test_kernels_of_gpus_are_known_by_their_names(operation, name):
    found = FUSED.search(operation)
    assert (found and found[1]) == name


def test_the_limits_add_up_to_eight_minutes_and_are_those_of_the_help():
    text = SCRIPT.read_text("utf-8")
    limits = dict(re.findall(r"^ *(?:part|check) ([\w-]+) (\d+) ", text, re.M))
    limits |= dict(re.findall(r'"(llama[\w.-]+) (\d+)"', text))
    told = subprocess.run(["bash", SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert limits == dict(re.findall(r"^  ([\w.-]+) +(\d+) +\d+  \w", told.stdout, re.M)) | {
        "report": limits["report"]
    }
    assert sum(map(int, limits.values())) == 480


def run(*arguments):
    """The script, with the Python that runs these tests."""
    return subprocess.run(
        ["bash", SCRIPT, *arguments],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_unknown_options_are_refused():
    done = run("--rehearsal")
    assert done.returncode == 2
    assert "usage: bash benchmarks/gpu.sh" in done.stderr


@pytest.mark.slow
def test_it_says_where_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = run()
    assert done.returncode == 2
    assert "torch sees no GPU here; --rehearse runs on the CPU" in done.stdout


@pytest.mark.slow
def test_the_rehearsal_runs_everything_and_marks_its_files(tmp_path):
    done = run("--rehearse", str(tmp_path))
    assert done.returncode == 0, done.stdout[-5000:]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 5
    assert all(name.startswith("rehearsal_") for name in names)
    document = json.loads(next(tmp_path.glob("rehearsal_gpu_*.json")).read_text("utf-8"))
    outcomes = {part["part"]: part["outcome"] for part in document["parts"]}
    assert outcomes == {
        **dict.fromkeys(("set-up", "numerics", "cpu", "planner"), "passed"),
        **dict.fromkeys(("tests", "flex"), "skipped"),
    }
    assert any("error, left" in case["figures"] for case in document["cases"])
    assert any("planned / measured" in case["figures"] for case in document["cases"])
