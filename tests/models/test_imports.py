"""Which module knows which: no circles among the models, and audio is ground.

Imports inside of functions and under TYPE_CHECKING count as well.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports from, as paths relative to the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pal_plugin")):
            continue
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
            place = ROOT.joinpath(*name.split("."))
            if place.with_suffix(".py").is_file():
                found.add(str(place.with_suffix(".py").relative_to(ROOT)))
    return found


def test_the_models_import_each_other_in_one_direction():
    graph = {}
    for room in ("models", "integration", "llm", "encoders", "connectors", "audio"):
        for path in ROOT.joinpath("pal_plugin", room).glob("*.py"):
            graph[str(path.relative_to(ROOT))] = imports(path)
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_audio_imports_nothing_from_above():
    for path in (ROOT / "pal_plugin" / "audio").glob("*.py"):
        rooms = {name.split("/")[1] for name in imports(path)}
        assert rooms <= {"audio", "utils", "types.py"}, path
