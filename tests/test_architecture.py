"""The shape of the code, as the README states it: one way of imports, and a checklist for each layer."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import typing
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sluiceway
import sluiceway.layers

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sluiceway"
FILES = sorted(SOURCE.rglob("*.py"))

# Each imports only from those before it; those on one line may import from one another, but not in a circle.
ORDER = [
    ["errors", "durations", "money", "facts", "events", "functions"],
    ["tasks", "starting", "expiry"],
    ["hinting", "attempt", "time_limits"],
    ["call", "arguments", "bound_arguments", "call_key"],
    ["algorithms"],
    ["providers"],
    ["admission", "keyed", "room"],
    ["queues"],
    ["order"],
    ["closing", "streaming"],
    ["pump", "branching"],
    ["readers"],
    ["invocation"],
    ["running"],
    ["binding"],
    ["client"],
    ["layer"],
    ["telemetry", "layers", "sharing"],
    ["outcome", "single_result", "gathering", "many_items", "session_client", "session"],
    ["backends"],
    ["config"],
    ["describe"],
    ["simulator", "testing"],
    ["batch"],
    ["backends.ray"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
HEAVY = {
    "openai",
    "anthropic",
    "aiohttp",
    "httpx",
    "httpx2",
    "redis",
    "ray",
    "rich",
    "click",
    "pydantic",
    "genai_prices",
}
PURE = ["errors.py", "durations.py", "order.py", "keyed.py", "algorithms/*.py"]


def imported(file):
    """Yield the full names that *file* imports when it runs, inside of functions too, type checking left aside."""
    package = ["sluiceway", *file.relative_to(SOURCE).parts[:-1]]
    waiting = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def part(file):
    """Return the module or package directly below `sluiceway` that *file* belongs to; an engine is one of its own."""
    return place(file.relative_to(SOURCE).with_suffix("").parts)


def place(names):
    """Return the part that a module belongs to by its *names* below `sluiceway`."""
    both = ".".join(names[:2])
    return both if both in RANK else names[0]


def neighbours(file):
    """Return the parts of sluiceway that *file* imports from; the package's own names are the command line's to use."""
    found = {place(name.split(".")[1:]) for name in imported(file) if name.startswith("sluiceway.")}
    return {name for name in found if name in RANK} - {part(file)}


# ------------------------------------------------------------------ one way


def test_every_part_has_its_place_in_the_order():
    """A new module is put where it belongs before it is imported from anywhere."""
    parts = {part(file) for file in FILES} - {"__init__"}
    assert set() == parts - set(RANK)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_run_one_way(file):
    """A file imports from parts before its own, or beside it."""
    if part(file) != "__init__":
        later = {name for name in neighbours(file) if RANK[name] > RANK[part(file)]}
        assert set() == later


def test_no_part_imports_itself_by_way_of_others():
    """Parts on one level import from one another in one direction only."""
    graph = {name: set() for name in RANK}
    for file in FILES:
        if part(file) != "__init__":
            graph[part(file)] |= neighbours(file)
    assert set(RANK) == set(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("file", [f for pattern in PURE for f in sorted(SOURCE.glob(pattern))], ids=lambda f: f.stem)
def test_what_decides_knows_no_event_loop(file):
    """Pure machines are told the time and import nothing of asyncio."""
    assert not {name for name in imported(file) if name.partition(".")[0] in {"asyncio", "threading", "concurrent"}}


@pytest.mark.real
def test_importing_sluiceway_loads_no_client_no_server_and_no_terminal():
    """What costs half a second or may not be installed is imported on use."""
    script = "import sys, sluiceway; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "sluiceway" in loaded
    assert set() == HEAVY & loaded


# ------------------------------------------------------------------ public names


def module_names(file):
    """Return what *file* imports at its top and what it defines there, without private names."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found |= {alias.asname or alias.name for alias in node.names}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("package", ["sluiceway", "sluiceway.layers"])
def test_all_is_what_is_imported(package):
    """Every name that the package imports is public, sorted, and nothing else is."""
    module = importlib.import_module(package)
    assert set(module.__all__) == module_names(Path(module.__file__))
    assert sorted(set(module.__all__), key=ruffs_order) == list(module.__all__)


def ruffs_order(name):
    """CONSTANTS, then Classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


PACKAGES = sorted(
    ".".join(["sluiceway", *file.relative_to(SOURCE).parts[:-1]])
    for file in FILES
    if file.name == "__init__.py" and "__all__" in file.read_text()
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    """What `__all__` promises can be had."""
    module = importlib.import_module(package)
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]


def test_parts_are_there_when_they_are_asked_for():
    """`sluiceway.config.load` needs no import of its own, and `import sluiceway` loads none of the parts."""
    script = (
        "import sluiceway, sys; before = set(sys.modules); sluiceway.config.load, sluiceway.batch.run; "
        "print(sorted(name for name in ('sluiceway.config', 'sluiceway.batch', 'pydantic') if name in before))"
    )
    assert "[]\n" == subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    with pytest.raises(AttributeError, match="module 'sluiceway' has no attribute 'confg'"):
        _ = sluiceway.confg


@pytest.mark.parametrize("name", sluiceway.__all__)
def test_public_classes_are_of_the_package_itself(name):
    """A traceback reads `sluiceway.CircuitOpen`, wherever its file is."""
    value = getattr(sluiceway, name)
    if isinstance(value, type):
        assert "sluiceway" == value.__module__


def test_public_names_have_docstrings():
    """Each class and function that can be imported says what it is for."""
    values = {name: getattr(sluiceway, name) for name in sluiceway.__all__}
    assert [] == [
        name
        for name, value in values.items()
        if callable(value) and typing.get_origin(value) is None and not (value.__doc__ or "").strip()
    ]


# ------------------------------------------------------------------ the checklist of a layer


@pytest.mark.parametrize("name", sluiceway.layers.__all__)
def test_every_layer_is_a_file_of_its_name_and_a_public_name(name):
    """One decorator a file, exported from the package."""
    layer = getattr(sluiceway.layers, name)
    assert (SOURCE / "layers" / f"{name}.py").is_file()
    assert getattr(sluiceway, name) is layer
    assert issubclass(layer, sluiceway.Layer)
    assert name == layer.__name__


@pytest.mark.parametrize("name", sluiceway.layers.__all__)
def test_every_layer_has_a_test_file(name):
    """Named after it."""
    assert (ROOT / "tests" / "layers" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", sluiceway.layers.__all__)
def test_every_layer_has_a_row_in_the_readme(name):
    """What it does, in the table of layers."""
    assert re.search(rf"^\| `{name}\(", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sluiceway.layers.__all__)
def test_every_layer_is_shown_by_a_recipe(name):
    """A recipe imports it from sluiceway and calls it."""
    recipes = [ast.parse(file.read_text()) for file in sorted((ROOT / "recipes").glob("*.py"))]
    assert any(name in imported_names(recipe) & called_names(recipe) for recipe in recipes)


def imported_names(tree):
    """Return what *tree* imports from `sluiceway` itself."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "sluiceway"]
    return {alias.name for node in nodes for alias in node.names}


def called_names(tree):
    """Return the plain names that *tree* calls."""
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
