"""The API reference: a page for each room of the package, written from the docstrings.

The package is read, not imported, so that the site needs neither torch nor LAVIS. Docstrings are
Markdown with Google's sections; what they put in backticks becomes a link where it names something
that has an entry of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

#: What a reader looks for -> the rooms that have it. A room that is in none stands at the end.
CONCEPTS = {
    "How audio enters the LLM": ["integration", "attention", "models"],
    "From sound to tokens": ["audio", "processors", "encoders", "connectors"],
    "The language model": ["llm"],
    "Data": ["corpora", "datasets", "soundworld", "spoken", "notes", "clips"],
    "Training and evaluation": ["training", "tasks", "evaluation", "planning", "pretraining"],
    "Serving": ["serving"],
    "What holds it together": ["commands", "config", "hosts", "types", "batch", "utils"],
}
SECTIONS = {"parameters": "param", "attributes": "attr", "raises": "raises", "yields": "yields"}
STARS = {"variadic positional": "*", "variadic keyword": "**"}
CODE = re.compile(r"(?<![`\w])`(\w[\w.]*)(?:\(\))?`(?!`)")


class Reference:
    """Pages of one package.

    Args:
        root: the folder that holds the package.
        package: its name.
    """

    def __init__(self, root: Path, package: str):
        self.unknown: list[str] = []  # described parameters that there are none of
        off = ["warn_missing_types", "returns_multiple_items", "returns_named_value"]
        off += ["warn_unknown_params"]  # `_check` knows `low_hz, high_hz:`
        self.package = griffe.load(
            package,
            search_paths=[root],
            allow_inspection=False,
            docstring_parser="google",
            docstring_options=dict.fromkeys(off, False),
        )
        self.known = {entry.path: entry for entry in self._entries(self.package)}

    def _entries(self, within) -> Iterator:
        """All that has an entry: public, made here, and described."""
        for name, entry in within.members.items():
            if entry.is_alias or name.startswith("_"):
                continue
            self._take_comment(entry)
            if entry.is_module or entry.has_docstring:
                yield entry
            if entry.is_module or (entry.is_class and entry.has_docstring):
                yield from self._entries(entry)

    @staticmethod
    def _take_comment(entry) -> None:
        """Constants are described by the `#:` lines above them."""
        if not entry.is_attribute or entry.has_docstring:
            return
        lines = entry.lines_collection[entry.filepath]
        first = last = entry.lineno - 1
        while lines[first - 1].lstrip().startswith("#:"):
            first -= 1
        if text := "\n".join(line.strip().removeprefix("#:")[1:] for line in lines[first:last]):
            entry.docstring = griffe.Docstring(text, parent=entry)

    def pages(self) -> dict[str, str]:
        """Markdown by the name of a page; `index` leads to the others."""
        inner = {path for path, entry in self.known.items() if not entry.is_module}
        rooms = {
            name: room
            for name, room in self.package.members.items()
            if any(path.startswith(f"{room.path}.") for path in inner)
        }
        concepts = {title: [n for n in names if n in rooms] for title, names in CONCEPTS.items()}
        placed = {name for names in concepts.values() for name in names}
        concepts["Further"] = [name for name in rooms if name not in placed]
        index = ["# Modules", "Written from the docstrings."]
        for title, names in concepts.items():
            if names:
                rows = (f"- [{name}]({name}.md): {self._summary(rooms[name])}" for name in names)
                index += [f"## {title}", "\n".join(rows), _toctree(names)]
        made = {name: self._room(room) for name, room in rooms.items()}
        return {"index": "\n\n".join(index) + "\n", **made}

    def _summary(self, entry) -> str:
        text = entry.docstring.value if entry.has_docstring else ""
        return self._linked(text.partition("\n\n")[0].replace("\n", " "), entry)

    def _room(self, room) -> str:
        parts = [f"# {room.name}", *self._module(room)]
        inner = sorted(m.path for m in self.known.values() if m.is_module)
        for path in inner:
            if path.startswith(f"{room.path}."):
                name = path.removeprefix(f"{room.path}.")
                parts += [f"## {name}", *self._module(self.known[path])]
        return "\n\n".join(filter(None, parts)) + "\n"

    def _module(self, module) -> Iterator[str]:
        yield f"```{{py:module}} {module.path}\n```"
        yield self._description(module)
        for entry in module.members.values():
            if entry.path in self.known and not entry.is_module:
                yield self._entry(entry)

    def _entry(self, entry) -> str:
        """A directive, with those of a class's members in it."""
        kind, head, options = self._heading(entry)
        body = self._description(entry)
        if entry.is_class:
            members = (m for m in entry.members.values() if m.path in self.known)
            body = "\n\n".join(filter(None, [body, *map(self._entry, members)]))
        fence = "`" * (9 if entry.is_class else 6)
        return "\n".join([f"{fence}{{py:{kind}}} {head}", *options, "", body, fence])

    def _description(self, entry) -> str:
        if not entry.has_docstring:
            return ""
        prose, fields = [], []
        for section in entry.docstring.parsed:
            kind = section.kind.value
            if kind == "text":
                prose.append(self._linked(section.value, entry))
            elif kind == "returns":
                fields += [_field("returns", _of(item)) for item in section.value]
            elif kind in SECTIONS:
                if kind == "parameters":
                    self._check(entry, [item.name for item in section.value])
                fields += [self._listed(kind, item) for item in section.value]
            elif kind == "examples":
                prose += (
                    t if k.value == "text" else f"```python\n{t}\n```" for k, t in section.value
                )
            elif kind == "admonition":  # a word and a colon above indented lines
                prose.append(f"{section.title}:\n\n{section.value.description}")
            else:
                raise ValueError(f"{entry.path}: a section of kind {kind!r} is not written yet")
        listed = "\n".join(self._linked(field, entry) for field in fields)
        return "\n\n".join(filter(None, [*prose, listed]))

    def _listed(self, kind: str, item) -> str:
        text = _of(item) if kind == "yields" else item.description
        name = getattr(item, "name", "")
        if kind == "raises":
            name = self._type(item.annotation)
            name = f"~{name}" if name in self.known else name  # shown without its module
        name = name.replace(", ", ",")  # Sphinx takes a first word for a type
        return _field(f"{SECTIONS[kind]} {name}".strip(), text)

    def _check(self, entry, described: list[str]) -> None:
        names = {name.strip("* ") for several in described for name in several.split(",")}
        for name in sorted(names - {parameter.name for parameter in entry.parameters}):
            self.unknown.append(f"{entry.path} describes {name!r} and has no such parameter")

    def _linked(self, text: str, entry) -> str:
        scope = entry if entry.is_module or entry.is_class else entry.parent

        def link(match: re.Match) -> str:
            path = self._resolved(match[1], scope)
            return f"{{py:obj}}`{match[0][1:-1]} <{path}>`" if path else match[0]

        return CODE.sub(link, text)

    def _resolved(self, name: str, scope) -> str | None:
        """The entry that a name means in a docstring: seen from there, or from the package."""
        while scope is not None:
            for path in (f"{scope.path}.{name}", _imported(scope, name)):
                if path in self.known:
                    return path
            scope = scope.parent
        return None

    def _heading(self, entry) -> tuple[str, str, list[str]]:
        """Kind of directive, signature and options."""
        if entry.is_class:
            return "class", f"{entry.name}{self._signature(entry.parameters)}", []
        if entry.is_function:
            kind = "method" if entry.parent.is_class else "function"
            returns = f" -> {self._type(entry.returns)}" if entry.returns else ""
            kinds = ("classmethod", "staticmethod")
            options = [f":{label}:" for label in kinds if label in entry.labels]
            return kind, f"{entry.name}{self._signature(entry.parameters)}{returns}", options
        if "property" in entry.labels:
            of_type = [f":type: {self._type(entry.annotation)}"] if entry.annotation else []
            return "property", entry.name, of_type
        return ("attribute" if entry.parent.is_class else "data"), entry.name, []

    def _signature(self, parameters) -> str:
        """As it is written, without `self`; `/` and `*` where they stand."""
        parts, starred = [], False
        listed = [p for n, p in enumerate(parameters) if n or p.name not in ("self", "cls")]
        # Not strict: without parameters the second list has one entry more.
        for parameter, following in zip(listed, [*listed[1:], None], strict=False):
            kind = parameter.kind.value if parameter.kind else ""
            if kind == "keyword-only" and not starred:
                parts.append("*")
            starred = starred or kind in ("keyword-only", "variadic positional")
            part = STARS.get(kind, "") + parameter.name
            if parameter.annotation is not None:
                part += f": {self._type(parameter.annotation)}"
            if parameter.default is not None and not part.startswith("*"):
                part += f" = {parameter.default}" if ":" in part else f"={parameter.default}"
            parts.append(part)
            if kind == "positional-only" and (not following or following.kind != parameter.kind):
                parts.append("/")
        return f"({', '.join(parts)})".replace("\n", " ")

    def _type(self, annotation) -> str:
        """As it is written, but for our own names, which are told from others of that name."""
        if not isinstance(annotation, griffe.Expr):
            return str(annotation)
        return "".join(
            part.canonical_path if self._is_ours(part) else getattr(part, "name", part)
            for part in annotation.iterate(flat=True)
        )

    def _is_ours(self, part) -> bool:
        entry = isinstance(part, griffe.ExprName) and self.known.get(part.canonical_path)
        return bool(entry) and not entry.is_module and not isinstance(part.parent, griffe.Expr)


def _imported(scope, name: str) -> str | None:
    """Where a name, or its first part, was imported from."""
    first, _, rest = name.partition(".")
    target = scope.imports.get(first)
    return target and ".".join(filter(None, (target, rest)))


def _of(item) -> str:
    """What is given back; the parser takes words before a colon for a type."""
    written = item.annotation if isinstance(item.annotation, str) else ""
    return ": ".join(filter(None, (written, item.description)))


def _field(name: str, text: str) -> str:
    return f":{name}: " + text.replace("\n", "\n    ")


def _toctree(names: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])


class _Complaints(logging.Handler):
    """Keeps what the parser has to say about docstrings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def write(root: Path, package: str, folder: Path) -> list[str]:
    """Write the pages into a folder; those that are as before stay untouched, others go.

    Args:
        root: the folder that holds the package.
        package: its name.
        folder: of the pages, made if it is missing.

    Returns:
        What is wrong with docstrings.
    """
    logger = logging.getLogger("griffe")
    logger.addHandler(complaints := _Complaints())
    try:
        reference = Reference(root, package)
        pages = {f"{name}.md": text for name, text in reference.pages().items()}
    finally:
        logger.removeHandler(complaints)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    return complaints.said + reference.unknown
