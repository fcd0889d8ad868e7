"""The recipe of the batch command: every command of its page runs as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from sluiceway.simulator import Simulator

FOLDER = Path(__file__).parent.parent / "recipes" / "batch_command"
COMMANDS = re.findall(r"^sluiceway (batch .*)$", (FOLDER / "README.md").read_text(), re.MULTILINE)


@pytest.mark.real
async def test_the_commands_of_the_page_do_what_it_says(tmp_path):
    """Prompts, columns and dead letters; each ends with 0."""
    folder = shutil.copytree(FOLDER, tmp_path / "batch_command")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    async with Simulator() as sim:
        env = {"PATH": path, "OPENAI_BASE_URL": sim.base_url, "OPENAI_API_KEY": "sim"}
        codes = []
        for command in COMMANDS:
            process = await asyncio.create_subprocess_shell(
                f"sluiceway {command}", cwd=folder, env=env, stdout=asyncio.subprocess.PIPE
            )
            await process.communicate()
            codes.append(process.returncode)
    assert [0, 0, 0] == codes
    ids = {name: {json.loads(line)["id"] for line in (folder / name).read_text().splitlines()} for name in ANSWERS}
    assert ANSWERS == ids


ANSWERS = {
    "answers.jsonl": {"thames", "nile", "danube", "amazon", "mekong"},
    "rivers.jsonl": {"seine", "ebro", "po"},
}
