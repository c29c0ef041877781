"""Holds the order of the house: which room may import which, and what `import kaleidoscope` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "kaleidoscope"

# Lowest first. A room imports lower ranks only; in its own rank,
# what stands to its left.
RANKS = [
    ("errors", "settings", "flow", "urls", "plain_yaml", "gpus"),
    ("coordinates", "target_columns", "targets", "record", "randomness", "resources"),
    ("registry",),
    (
        "entries",
        "ops",
        "codecs",
        "log",
        "opening",
        "retries",
        "pieces",
        "file_info",
        "objects",
        "storage",
        "members",
        "ranged",
        "unpacked",
        "archives",
        "read_ahead",
        "write_behind",
    ),
    ("tree",),
    (
        "recipe",
        "recipe_files",
        "plan",
        "listing",
        "buckets",
        "sources",
        "index",
        "weights",
        "labels",
        "read",
        "outcome",
    ),
    ("backends",),
    (
        "layouts",
        "job",
        "walk",
        "walk_batch",
        "segments",
        "sinks",
        "manifest",
        "shards",
        "block_work",
        "target",
        "lease",
        "run",
        "at_work",
        "totals",
        "outputs",
        "blocks",
        "relay",
        "relay_graph",
        "augmentation",
        "segment_graph",
        "identify",
        "whereabouts",
    ),
    ("display", "prices", "measuring", "estimate"),
    ("optimize", "tables", "verify", "report", "following", "preflight", "writing", "bag", "augmented", "replay"),
    ("loader", "analysis"),
    ("demo", "info", "catalogue", "cluster_commands", "cli", "service"),
]
ORDER = [room for rank in RANKS for room in rank]

DOOR = "__init__"
ALLOWED: dict[str, set[str]] = {room: set(ORDER[:position]) for position, room in enumerate(ORDER)}
ALLOWED |= {
    "samples": set(),
    "cluster": {"errors", "gpus", "plain_yaml", "resources"},
    # What faces people may come in by the public door, and may use what stands beside the order.
    "demo": ALLOWED["demo"] | {DOOR, "cluster", "samples"},
    "cluster_commands": {"errors", "cluster"},
    "cli": ALLOWED["cli"] | {DOOR, "cluster", "samples"},
    "service": ALLOWED["service"] - {"cli"} | {DOOR, "cluster", "samples"},
    "testing": {*ORDER, DOOR, "cluster", "samples"},
    "__main__": {"cli"},
    DOOR: {*ORDER, "cluster", "samples"},
}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST = 400

SLOW_OR_OPTIONAL = [
    "PIL",
    "asyncssh",
    "bokeh",
    "dask_kubernetes",
    "distributed",
    "fastapi",
    "jsonschema",
    "pandas",
    "pyarrow",
    "pydicom",
    "rich",
    "s3fs",
    "starlette",
    "torch",
]


class Import(NamedTuple):
    module: str
    line: int
    typing_only: bool


def name_of(path: Path, root: Path = PACKAGE) -> str:
    """Return the dotted name of the module at `path`."""
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room that a module of ours is in."""
    return module.split(".")[1] if "." in module else DOOR


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(source: str, name: str, known: set[str], *, is_package: bool = False) -> Iterator[Import]:
    """Yield what of ours a module imports, wherever in it; ``from a import b`` is ``a.b`` if that is one."""
    base = name.split(".") if is_package else name.split(".")[:-1]

    def visit(node: ast.AST, *, typing_only: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*start, *(node.module.split(".") if node.module else [])])
            inner = [f"{origin}.{alias.name}" for alias in node.names]
            names = [full if full in known else origin for full in inner]
        for module in dict.fromkeys(names):
            if module.split(".")[0] == "kaleidoscope":
                yield Import(module, node.lineno, typing_only)
        if is_typing_only(node):
            for child in node.body:
                yield from visit(child, typing_only=True)
            for child in node.orelse:
                yield from visit(child, typing_only=typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, typing_only=typing_only)

    yield from visit(ast.parse(source), typing_only=False)


def violations(name: str, found: list[Import]) -> list[str]:
    """Say which imports break the order.

    Imports for annotations count: a room that names another's type knows that room.
    """
    room = room_of(name)
    if room not in ALLOWED:
        return [f"{name}: the room {room!r} has no place in the order: give it one, here and in the design"]
    return [
        f"{name}:{one.line}: {room} must not import {one.module}"
        for one in found
        if room_of(one.module) != room and room_of(one.module) not in ALLOWED[room]
    ]


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a ring, or nothing."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if ring := walk(target, [*path, module]):
                return ring
        done.add(module)
        return []

    return next((ring for module in sorted(graph) if (ring := walk(module, []))), [])


PATHS = sorted(PACKAGE.rglob("*.py"))
KNOWN = {name_of(path) for path in PATHS}
IMPORTS = {
    name_of(path): list(imports(path.read_text("utf-8"), name_of(path), KNOWN, is_package=path.name == "__init__.py"))
    for path in PATHS
}


def test_imports_follow_the_order():
    assert [problem for name, found in IMPORTS.items() for problem in violations(name, found)] == []


def test_imports_of_ours_exist():
    missing = {one.module for found in IMPORTS.values() for one in found} - KNOWN
    assert not missing


def test_no_import_cycles():
    # Imports for annotations cannot deadlock: a package may name its lazily loaded modules for type checkers.
    graph = {name: {one.module for one in found if not one.typing_only} - {name} for name, found in IMPORTS.items()}
    assert cycle(graph) == []


def test_modules_are_short():
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in PATHS}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_modules_are_named_for_what_they_own():
    assert not [name for name in KNOWN if name.rpartition(".")[2].lstrip("_") in NAMELESS]


def test_modules_say_what_they_own():
    assert [name_of(p) for p in PATHS if not ast.get_docstring(ast.parse(p.read_text("utf-8")))] == []


def test_the_public_door_is_a_package():
    assert (PACKAGE / "__init__.py").exists()
    assert (PACKAGE / "py.typed").exists()


def in_a_fresh_process(code: str) -> str:
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_loads_nothing_slow_or_optional():
    code = f"""
import sys
import kaleidoscope
print(*(name for name in {SLOW_OR_OPTIONAL} if name in sys.modules))
"""
    assert in_a_fresh_process(code).split() == []


class TestTheseChecks:
    """A check that cannot fail is none."""

    KNOWN = frozenset({"kaleidoscope", "kaleidoscope.bag", "kaleidoscope.ops", "kaleidoscope.ops.base"})

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("import kaleidoscope.bag", ["kaleidoscope.bag"]),
            ("from kaleidoscope import bag, ops", ["kaleidoscope.bag", "kaleidoscope.ops"]),
            ("from kaleidoscope import augment", ["kaleidoscope"]),
            ("from kaleidoscope.ops.base import Op, Part", ["kaleidoscope.ops.base"]),
            ("from .base import Op", ["kaleidoscope.ops.base"]),
            ("from . import base", ["kaleidoscope.ops.base"]),
            ("from ..bag import Bag", ["kaleidoscope.bag"]),
            ("from .. import bag", ["kaleidoscope.bag"]),
            ("def f():\n    if x:\n        import kaleidoscope.bag", ["kaleidoscope.bag"]),
            ("if TYPE_CHECKING:\n    from kaleidoscope.bag import Bag", ["kaleidoscope.bag"]),
            ("import kaleidoscopes, dask.bag", []),
        ],
    )
    def test_find_every_import(self, source, expected):
        found = imports(source, "kaleidoscope.ops.flip", set(self.KNOWN))
        assert [one.module for one in found] == expected

    def test_tell_imports_for_annotations_from_others(self):
        source = "if TYPE_CHECKING:\n    import kaleidoscope.bag\nelse:\n    import kaleidoscope.ops"
        found = imports(source, "kaleidoscope.ops.flip", set(self.KNOWN))
        assert [one.typing_only for one in found] == [True, False]

    @pytest.mark.parametrize(
        ("name", "module", "allowed"),
        [
            ("ops.flip", "ops.base", True),
            ("ops.flip", "record", True),
            ("ops.flip", "tree", False),
            ("errors", "record", False),
            ("run", "manifest", True),
            ("manifest", "run", False),
            ("cluster.local", "errors", True),
            ("cluster.local", "bag", False),
            ("samples", "errors", False),
            ("bag", "cluster.local", False),
            ("bag", "testing", False),
            ("somewhere", "errors", False),
        ],
    )
    def test_know_the_order(self, name, module, allowed):
        found = [Import(f"kaleidoscope.{module}", 1, typing_only=False)]
        assert (violations(f"kaleidoscope.{name}", found) == []) == allowed

    def test_refuse_the_public_door_from_inside(self):
        assert violations("kaleidoscope.bag", [Import("kaleidoscope", 1, typing_only=False)])

    def test_find_a_cycle(self):
        assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
        assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
