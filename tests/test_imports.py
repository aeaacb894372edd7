"""The floors of the house: who may import whom; imports in functions and for types count too."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: A module imports from its own floor (its own room) and from those above it in this list only.
FLOORS = (
    ("version", "types", "utils"),
    ("config", "batch", "clips"),
    ("audio",),
    ("corpora", "encoders", "connectors", "llm"),
    ("attention",),
    ("integration", "soundworld", "spoken", "notes", "processors"),
    ("models", "datasets"),
    ("evaluation", "planning", "pretraining", "serving"),
    ("tasks", "training"),
    ("hosts",),
    ("commands",),
    ("", "__main__"),  # the package itself, whose finder starts a host
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted((ROOT / "pal_plugin").rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Names of all that a file imports; of our own, the modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return module.removeprefix("pal_plugin").removeprefix(".").partition(".")[0]


def test_the_table_names_every_room():
    assert {room_of(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    mine = room_of(module)
    for other in IMPORTS[module]:
        if other.startswith("pal_plugin"):
            room = room_of(other)
            assert room == mine or FLOOR[room] < FLOOR[mine], f"{module} imports {other}"


def test_no_module_imports_itself_by_a_detour():
    package_of = {m: {i for i in of if i in MODULES and i != m} for m, of in IMPORTS.items()}
    TopologicalSorter(package_of).prepare()  # raises CycleError, which names the circle


def test_lavis_is_imported_in_its_room_only():
    strangers = {m for m, of in IMPORTS.items() if any(i.split(".")[0] == "lavis" for i in of)}
    assert strangers
    assert all(module.startswith("pal_plugin.hosts.lavis") for module in strangers), strangers
