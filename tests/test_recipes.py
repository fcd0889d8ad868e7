"""The recipes: each runs as it stands, and prints what its docstring says."""

from __future__ import annotations

import ast
import asyncio
import doctest
import os
import sys
from pathlib import Path

import pytest

from sluiceway.simulator import Simulator

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.py"))
NAMES = [recipe.stem for recipe in RECIPES]
MOST_LINES = 80
ELSEWHERE = {"batch_on_ray"}  # run with the tests of its subject, on the cluster that these have started
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def promised(recipe):
    """Return what the docstring of *recipe* says that it prints: its last block, behind "Prints...::"."""
    docstring = ast.get_docstring(ast.parse(recipe.read_text()))
    head, _, block = docstring.rpartition("::\n\n")
    assert "\nPrints" in head, f"{recipe.name}: its docstring ends with what it prints"
    return "\n".join(line.removeprefix("    ") for line in block.splitlines()) + "\n"


async def printed(recipe, **environment):
    """Run *recipe* in a process of its own, and return its exit code and what it printed."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(recipe)),
        env=ours | {"PYTHONIOENCODING": "utf-8"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


def test_there_are_recipes():
    """The glob that finds them finds some, and every layer is shown in one."""
    text = "".join(recipe.read_text() for recipe in RECIPES)
    for layer in ("bounded", "circuit_breaker", "rate_limited", "retry_jitter", "timed"):
        assert f"{layer}(" in text


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_a_recipe_is_short_and_tells_its_problem(recipe):
    """It fits on a screen or two, and its docstring states the problem under a line of a summary."""
    summary, problem, *_ = ast.get_docstring(ast.parse(recipe.read_text())).split("\n\n")
    assert summary.endswith(".")
    assert problem.count(". ") + problem.count(".\n") >= 1
    assert len(recipe.read_text().splitlines()) <= MOST_LINES


@pytest.mark.real
@pytest.mark.parametrize("recipe", [each for each in RECIPES if each.stem not in ELSEWHERE], ids=lambda each: each.stem)
async def test_a_recipe_prints_what_it_says(recipe):
    """Without a key and without a warning: where its docstring has "...", anything may stand."""
    code, output = await printed(recipe)
    expected = promised(recipe)
    agrees = doctest.OutputChecker().check_output(expected, output, LOOSELY)
    assert agrees, f"{recipe.name} promises\n\n{expected}\nand prints\n\n{output}"
    assert 0 == code


@pytest.mark.real
async def test_a_recipe_asks_the_provider_that_the_environment_names():
    """With OPENAI_BASE_URL and OPENAI_API_KEY it sends its calls there."""
    async with Simulator(answer="from elsewhere") as elsewhere:
        where = {"OPENAI_BASE_URL": elsewhere.base_url, "OPENAI_API_KEY": "theirs"}
        code, output = await printed(RECIPES[NAMES.index("decorate_a_function")], **where)
    assert (0, "from elsewhere") == (code, output.splitlines()[0])
    assert 1 == elsewhere.ledger.answered
