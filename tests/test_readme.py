"""What the README shows exists and runs."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

import sluiceway

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = [
    textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.strip().splitlines()[0][:40])
def test_every_snippet_parses_and_imports_what_there_is(snippet):
    """Code in the README is valid, awaits included, and every name that it imports from us is public."""
    tree = compile(snippet, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "sluiceway"]
    names = {alias.name for node in imports for alias in node.names}
    assert set() == names - set(sluiceway.__all__)


async def test_the_first_snippet_runs(monkeypatch):
    """The decorated function at the top of the README answers."""
    import sluiceway.providers.openai
    from mock_openai import Server, client_of

    monkeypatch.setattr(sluiceway.providers.openai, "client", lambda: client_of(Server()))
    scope = {}
    exec(compile(SNIPPETS[0], "README.md", "exec"), scope)
    answer = await scope["ask"]("hello")
    assert isinstance(answer.choices[0].message.content, str)


def test_every_link_into_the_repository_leads_somewhere():
    """Relative links name files that exist."""
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", prose)
    assert [] == [link for link in links if not (ROOT / link.split("#")[0]).exists()]


def test_every_recipe_is_listed_under_its_first_line():
    """The list of recipes names each file by the first sentence of its docstring."""
    for recipe in sorted((ROOT / "recipes").glob("*.py")):
        first = ast.get_docstring(ast.parse(recipe.read_text(encoding="utf-8"))).splitlines()[0].rstrip(".")
        assert f"- [{first}](recipes/{recipe.name})" in README


def test_no_placeholder_is_left():
    """Nothing in the README waits to be filled in."""
    assert [] == re.findall(r"@[A-Z]+@|TODO|TBD", README)
