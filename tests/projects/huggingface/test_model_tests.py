"""The script that runs transformers' common tests; the tests themselves where they are at hand."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "projects" / "pal" / "huggingface" / "model_tests.py"
FOLDER = os.environ.get("PAL_TRANSFORMERS")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("model_tests", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_without_the_tests_is_an_error(script, tmp_path):
    for argv in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit, match=r"no folder with tests/test_modeling_common.py"):
            script.main(argv)


def test_reasons_are_by_pattern(script):
    assert script.reason_for("test_eager_matches_sdpa_inference_03_fp16_pad_left")
    assert script.reason_for("test_resize_embeddings_untied")
    assert script.reason_for("test_resize_embeddings_untied_no_reinit_on_post_init") is None
    assert script.reason_for("test_training") is None


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="PAL_TRANSFORMERS names no checkout of transformers")
def test_what_holds_and_what_does_not_is_as_listed():
    done = subprocess.run([sys.executable, SCRIPT, FOLDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
