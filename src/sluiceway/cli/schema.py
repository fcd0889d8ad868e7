"""`sluiceway schema`: the JSON Schema of files of pipelines."""

from __future__ import annotations

import click


@click.command()
def schema_command() -> None:
    """Print the JSON Schema of files of pipelines, for editors.

    It names the layers of this package and of installed ones, with all their settings.
    """
    from sluiceway.config.schema import text  # noqa: PLC0415 - pydantic, which no other command needs

    click.echo(text(), nl=False)
