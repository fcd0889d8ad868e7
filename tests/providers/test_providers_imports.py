"""Understanding a provider needs none of its client libraries."""

import subprocess
import sys

import pytest

HEAVY = {"openai", "anthropic", "httpx", "httpx2", "aiohttp", "pydantic", "genai_prices", "bpe_openai", "tiktoken"}


@pytest.mark.real
def test_imports_are_lazy():
    """No module of this package imports a client, a price list or a vocabulary until somebody asks for one."""
    script = (
        "import importlib, pkgutil, sys, sluiceway.providers as package\n"
        "for each in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'sluiceway.providers.{each.name}')\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert (set(), True) == (HEAVY & loaded, "sluiceway" in loaded)
