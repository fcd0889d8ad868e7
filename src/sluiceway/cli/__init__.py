"""The command line: `sluiceway`, or `python -m sluiceway`."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

_COMMANDS: Final = {
    "batch": ("sluiceway.cli.batch", "batch_command", "Answer a file of prompts."),
    "check": ("sluiceway.cli.check", "check_command", "Show what a file of pipelines comes to, and what is wrong."),
    "demo": ("sluiceway.cli.demo", "demo_command", "Watch a few hundred calls go through the layers."),
    "plan": ("sluiceway.cli.plan", "plan_command", "Say what a batch will take before it costs anything."),
    "schema": ("sluiceway.cli.schema", "schema_command", "Print the JSON Schema of files of pipelines."),
    "report": ("sluiceway.cli.report", "report_command", "Write a page about a batch that ran."),
    "simulate": ("sluiceway.cli.simulate", "simulate_command", "Run the embedded provider on a port."),
    "top": ("sluiceway.cli.top", "top_command", "Watch a running process: limits, queues, circuits, errors."),
}


def main() -> None:
    """Run the command line."""
    import click  # noqa: PLC0415 - the library itself runs without it

    from sluiceway import __version__  # noqa: PLC0415
    from sluiceway.cli import streams  # noqa: PLC0415

    class Commands(click.Group):
        """Loads a command when it is run: one needs aiohttp, another rich, `--help` neither."""

        def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
            return list(_COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
            if cmd_name not in _COMMANDS:
                return None
            module, name, _ = _COMMANDS[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), name)
            return command

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
            with formatter.section("Commands"):
                formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    group = Commands("sluiceway", help="Stackable async middleware for LLM calls.")
    click.version_option(__version__, prog_name="sluiceway")(group)
    streams.warn_in_one_line()
    try:
        group()
    except OSError as error:  # click itself treats a reader that has gone
        code = streams.exit_code(error)
        if code is None:
            raise
        sys.exit(code)
