"""The pipeline that --config and --pipeline name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import os

    from sluiceway.layer import Pipeline


def pipeline_of(file: str | os.PathLike[str], name: str | None) -> Pipeline:
    """Return the pipeline of *file* that is called *name*; the only one, if there is none.

    Raises:
        click.UsageError: there is no such pipeline, or no one alone.
        ConfigError: something is wrong with the file.
    """
    from sluiceway import config  # noqa: PLC0415 - pydantic is loaded where a file is

    pipelines = config.load(file).pipelines
    if not pipelines:
        raise click.UsageError(f"{file} has no pipelines: write one, as [pipelines.chat] with layers = [...]")
    chosen = name or (next(iter(pipelines)) if len(pipelines) == 1 else "")
    if chosen not in pipelines:
        raise click.UsageError(f"--pipeline must be one of {', '.join(pipelines)}, which {file} has")
    return pipelines[chosen]
