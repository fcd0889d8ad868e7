"""`sluiceway batch --engine ray`."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sluiceway.cli.batch.arguments import LIMITS, target_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.backends.ray.work import Layers
    from sluiceway.sharing.store import SharedStore

OPTIONS: Final = ("actors", "cpus", "address", "store")


def run_on_ray(source: str, output: str, target: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return what runs the batch, to be awaited."""
    from sluiceway.backends import ray  # noqa: PLC0415 - an extra

    return ray.run(source=source, results=output, **target, **settings)


def target_on_ray(options: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked, and how each actor makes its layers.

    Raises:
        click.UsageError: as `target_of`.
    """
    return {**target_of(options), "pipeline": _layers_of(options)}


def _layers_of(options: dict[str, Any]) -> Layers:
    path = options["config"]
    if not path:
        from sluiceway.backends.ray import usual_layers  # noqa: PLC0415 - an extra

        given = {name: options[name] for name in LIMITS if options[name] is not None}
        return functools.partial(usual_layers, **given)
    text = Path(path).read_text(encoding="utf-8")
    meant = {name: value for name, value in os.environ.items() if name in text or name.startswith("SLUICEWAY_")}
    return functools.partial(configured, text, Path(path).suffix.lower(), options["pipeline"], meant)


def configured(text: str, suffix: str, name: str | None, environ: Mapping[str, str], store: SharedStore) -> Any:  # noqa: ARG001 - a file names its stores itself
    """Return the pipeline that a file describes, where the file itself is not: in an actor."""
    from sluiceway import config  # noqa: PLC0415 - pydantic is loaded where a file is

    form = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}.get(suffix, "toml")
    pipelines = config.load(text=text, format=form, environ=environ).pipelines  # type: ignore[arg-type] # of a dict
    return pipelines[name or next(iter(pipelines))]
