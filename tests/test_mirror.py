"""Tests stand where their modules do: `pal_plugin/a/b.py` has `tests/a/test_b.py`."""

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "pal_plugin"
#: Modules without a test of their name, and why; what a room's `__init__` offers is tested with
#: the modules that it comes from.
EXCEPTIONS = {
    "__main__.py": "one call of `commands.main`",
    "audio/errors.py": "names of errors, without behaviour",
    "utils/errors.py": "names of errors and exit codes, without behaviour",
    "version.py": "one constant",
}


def test_every_module_has_a_test_of_its_name():
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    without = {
        module.as_posix()
        for module in modules
        if module.name != "__init__.py"
        and not (TESTS / module.parent / f"test_{module.stem.strip('_')}.py").is_file()
    }
    assert without == EXCEPTIONS.keys()
