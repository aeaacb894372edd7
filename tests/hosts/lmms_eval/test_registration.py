"""lmms-eval only logs what fails in an entry point, so these tests say it."""

import pkgutil
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_entry_point_gives_a_manifest_whose_class_is_there(host):
    setup = (ROOT / "setup.py").read_text("utf-8")
    (target,) = re.findall(r'"lmms_eval\.models": \["pal ?= ?([\w.:]+)"\]', setup)
    manifest = pkgutil.resolve_name(target)()
    assert manifest.model_id == "pal"
    assert pkgutil.resolve_name(manifest.simple_class_path) is host.Pal
    assert host.Pal.is_simple
