"""Deciding is apart from doing: the machines know neither clock nor event loop, and bring no chance of their own."""

import ast
from pathlib import Path

import pytest

import sluiceway.algorithms

FORBIDDEN = {"asyncio", "time", "datetime", "threading", "concurrent", "selectors", "secrets", "os", "socket"}
INSIDE = {"sluiceway.algorithms", "sluiceway.durations", "sluiceway.errors"}
FILES = sorted(Path(sluiceway.algorithms.__path__[0]).glob("*.py"))


def imports(tree):
    """Yield the names of the modules that *tree* imports when it runs, type checking left aside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_machines_are_told_the_time(file):
    """No module here imports a clock, an event loop or threads, or anything of ours but durations and errors."""
    found = set(imports(ast.parse(file.read_text())))
    assert set() == {name for name in found if name.partition(".")[0] in FORBIDDEN}
    ours = {name for name in found if name.partition(".")[0] == "sluiceway"}
    assert set() == {name for name in ours if ".".join(name.split(".")[:2]) not in INSIDE}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_chance_is_handed_in(file):
    """No module here draws from a generator of its own, so a seed repeats a whole run."""
    assert "random" not in set(imports(ast.parse(file.read_text())))
