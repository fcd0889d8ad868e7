"""What to try after the demo, as commands that work from where it was started."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def next_steps(*, real: bool) -> str:
    """Return three or four commands, each with what it does."""
    python, program = _commands()
    steps = []
    if Path("recipes/decorate_a_function.py").is_file():
        steps.append((f"{python} recipes/decorate_a_function.py", "the smallest of the recipes"))
    steps.append((f"{program} simulate --rpm 600 --error 503=0.1", "this provider, for your own code"))
    if real:
        steps.append((f"{program} demo", "a few hundred calls, against the simulated provider"))
    else:
        steps.append((f"OPENAI_API_KEY=... {program} demo --real", "the same code against a real endpoint"))
        steps.append((f"{program} demo --calls 1000 --seed 7", "longer, in other weather"))
    widest = max(len(command) for command, _ in steps)
    return "\n".join(f"{command:<{widest}}   {what}" for command, what in steps)


def _commands() -> tuple[str, str]:
    """Return how this Python and the command line are called here: by name where the shell finds them."""
    here = Path(sys.executable)
    on_path = shutil.which("sluiceway")
    if on_path is not None and Path(on_path).parent == here.parent:
        return here.name, "sluiceway"
    python = os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)
    script = Path(python).with_name("sluiceway")
    return python, str(script) if script.is_file() else f"{python} -m sluiceway"
