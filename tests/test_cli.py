"""The command line as a whole."""

import subprocess
import sys

import pytest


@pytest.mark.real
def test_help_lists_the_commands_without_loading_any():
    """`python -m sluiceway --help` works with nothing but the core, and names every command."""
    code = (
        "import sys; sys.argv = ['sluiceway', '--help']\n"
        "from sluiceway.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in ('aiohttp', 'openai', 'rich') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "simulate" in done.stdout
    assert "demo" in done.stdout
    assert done.stdout.endswith("[]\n")
