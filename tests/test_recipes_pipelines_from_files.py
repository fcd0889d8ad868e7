"""The recipes of pipelines from files: each prints what it says, and the commands of their page do what it says."""

from __future__ import annotations

import asyncio
import doctest
import os
import re
import sys
from pathlib import Path

import pytest

from test_recipes import LOOSELY, printed, promised

FOLDER = Path(__file__).parent.parent / "recipes" / "pipelines_from_files"
RECIPES = sorted(FOLDER.glob("*.py"))
PAGE = (FOLDER / "README.md").read_text()


@pytest.mark.real
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
async def test_a_recipe_prints_what_it_says(recipe):
    """Without a key and without a warning: where its docstring has "...", anything may stand."""
    code, output = await printed(recipe)
    assert doctest.OutputChecker().check_output(promised(recipe), output, LOOSELY), output
    assert 0 == code


@pytest.mark.real
async def test_the_check_of_the_page_passes_for_its_file_and_fails_for_a_broken_one(tmp_path):
    """As a step of CI, by its exit code."""
    (command,) = re.findall(r"^(sluiceway check .*)$", PAGE, re.MULTILINE)
    text = (FOLDER / "pipeline.toml").read_text()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    codes = []
    for content in (text, text.replace("limit = 10", "limit = 0")):
        (tmp_path / "pipeline.toml").write_text(content)
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_shell(
            command, cwd=tmp_path, env={"PATH": path}, stdout=quiet, stderr=quiet
        )
        codes.append(await process.wait())
    assert [0, 1] == codes


def test_every_recipe_is_listed_on_the_page():
    """Under the first line of its docstring."""
    for recipe in RECIPES:
        first = recipe.read_text().splitlines()[0].strip('".')
        assert f"[{first}]({recipe.name})" in PAGE
