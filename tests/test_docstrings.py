"""Public code has docstrings, and those of tensor code give shapes; read from the source alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pal_plugin"
#: Packages whose functions on tensors must document shapes.
TENSOR_PACKAGES = ("attention", "audio", "connectors", "encoders", "integration")
#: A shape is bracketed, such as [B, N, D] or [...], or the word scalar.
SHAPE = re.compile(r"\[[^\]\n]*\]|\bscalars?\b")

#: Methods that fulfil an interface of a library, which documents them.
INTERFACES = {
    "forward": "torch.nn.Module and autograd.Function: the class's docstring has the shapes",
    "backward": "torch.autograd.Function",
    "setup_context": "torch.autograd.Function",
    "create_module": "importlib.abc.Loader",
    "exec_module": "importlib.abc.Loader",
    "find_spec": "importlib.abc.MetaPathFinder",
    "display": "tqdm",
}
#: By module, names with a reason.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "config/kinds.py": {"holds": "the class's docstring says which values are of the kind"},
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(
    body: list[ast.stmt], inside: str = ""
) -> Iterator[tuple[str, Definition, ast.ClassDef | None]]:
    """(dotted name, definition, its class or None) of what is public, methods included."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield f"{inside}{node.name}", node, None
            for name, inner, of in public(node.body, f"{inside}{node.name}."):
                yield name, inner, of or node
        else:
            yield f"{inside}{node.name}", node, None


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def excused(path: Path, name: str) -> bool:
    last = name.rpartition(".")[2]
    in_module = EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix(), {})
    return ("." in name and last in INTERFACES) or last in in_module


def overloads(node: Definition) -> bool:
    """Setters and overloads are documented where the name is defined first."""
    names = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(name.endswith((".setter", "overload")) for name in names)


def has_tensors(node: Definition) -> bool:
    if isinstance(node, ast.ClassDef):
        return False
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments] + [node.returns]
    return any(
        (isinstance(part, ast.Name) and part.id == "Tensor")
        or (isinstance(part, ast.Attribute) and part.attr == "Tensor")
        for annotation in annotations
        if annotation is not None
        for part in ast.walk(annotation)
    )


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in modules()}


def test_every_module_has_a_docstring(trees):
    missing = [str(path) for path, tree in trees.items() if not ast.get_docstring(tree)]
    assert not missing, "\n".join(missing)


def test_public_functions_methods_and_classes_have_docstrings(trees):
    missing = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
        for path, tree in trees.items()
        for name, node, _ in public(tree.body)
        if not ast.get_docstring(node) and not excused(path, name) and not overloads(node)
    ]
    assert not missing, "\n".join(missing)


def test_docstrings_of_tensor_code_give_shapes(trees):
    missing = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
        for path, tree in trees.items()
        if path.relative_to(PACKAGE).parts[0] in TENSOR_PACKAGES
        for name, node, of in public(tree.body)
        if has_tensors(node)
        and not SHAPE.search(
            (ast.get_docstring(node) or "") + ((of and ast.get_docstring(of)) or "")
        )
    ]
    assert not missing, "\n".join(missing)


def test_exceptions_are_needed(trees):
    for name, names in EXCEPTIONS.items():
        found = {n.rpartition(".")[2] for n, *_ in public(trees[PACKAGE / name].body)}
        assert set(names) <= found, name
