"""A name with an underscore is used where it is defined: no module reaches into another one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pal_plugin"

#: Of other packages, by name: why there is no public way.
THIRD_PARTY = {
    "_attn_implementation": "transformers: the name of the attention function, public only at load",
    "_flash_attention_forward": "transformers: FlashAttention behind its unpadding",
    "_gradient_checkpointing_func": "transformers: the only sign of a reentrant checkpoint",
    "_model_mapping": "transformers: which classes AutoModelForCausalLM knows",
    "_hf_hook": "accelerate: the only sign of offloaded weights",
    "_forward_pre_hooks": "torch: whether a module has hooks",
    "_version": "torch: whether a tensor was changed in place",
    "_cdata": "torch: which storage a tensor lives in",
    "_rebuild_tensor": "torch: a name inside of pickled weights",
    "_rebuild_tensor_v2": "torch: a name inside of pickled weights",
    "_rebuild_parameter": "torch: a name inside of pickled weights",
    "_utils": "torch: the module of those names",
    "_scaled_dot_product_flash_attention_for_cpu": "torch: an operator without a meta kernel",
    "_scaled_dot_product_flash_attention_for_cpu_backward": "torch: likewise",
    "_actions": "argparse: which options a parser knows",
    "_exit": "os: ends a process without its clean-up",
    "_fields": "collections: the names of a named tuple's fields",
    "_get_node": "OmegaConf: a value before it is resolved",
    "_is_interpolation": "OmegaConf: of such a value",
    "_is_missing": "OmegaConf: of such a value",
    "_is_none": "OmegaConf: of such a value",
    "_value": "OmegaConf: of such a value",
}

ATTRIBUTE_FUNCTIONS = ("getattr", "setattr", "hasattr", "delattr", "__setattr__")


class Names:
    """Private names of one module.

    Attributes:
        defined: what it defines, or sets on `self` or `cls`.
        placed: what it sets on other objects.
        reached: what it imports, or looks up on other objects.
    """

    def __init__(self, path: Path) -> None:
        self.defined: set[str] = set()
        self.placed: set[str] = set()
        self.reached: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for kind, name in _names(node):
                if name.startswith("_") and not name.startswith("__") and name != "_":
                    getattr(self, kind).add(name)


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield "defined", node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield "defined", node.id
    elif isinstance(node, ast.ImportFrom):
        yield from (("reached", alias.name) for alias in node.names)
    elif isinstance(node, ast.Attribute):
        stores, own = isinstance(node.ctx, ast.Store), _is_own(node.value)
        if stores:
            yield ("defined" if own else "placed"), node.attr
        elif not own:
            yield "reached", node.attr
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        name = getattr(node.args[1], "value", None)
        if called in ATTRIBUTE_FUNCTIONS and isinstance(name, str):
            yield ("defined" if _is_own(node.args[0]) else "reached"), name


def _is_own(value: ast.AST) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


MODULES = {str(p.relative_to(PACKAGE)): Names(p) for p in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_the_private_names_of_another(module):
    own = MODULES[module]
    elsewhere = set().union(*(n.placed | n.reached for m, n in MODULES.items() if m != module))
    taken = (own.placed | own.reached) - own.defined - THIRD_PARTY.keys()
    taken -= own.placed - elsewhere  # set and read here alone
    assert not taken
