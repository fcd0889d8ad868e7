"""`sluiceway check FILE`: what a file of pipelines comes to, and what is wrong with it."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from sluiceway.errors import ConfigError
from sluiceway.order import amplification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.config import Config, Registry
    from sluiceway.layer import Layer


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--format", "form", type=click.Choice(["toml", "yaml", "json"]), help="Where the name does not tell.")
@click.option("--registry", metavar="MODULE:NAME", help="Import a Registry of your application, and use its names.")
@click.option("--allow", multiple=True, metavar="MODULE", help="Let the file name things of this module.")
@click.option("--all", "everything", is_flag=True, help="Show settings that are left at their default, too.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
def check_command(
    file: str, form: str | None, registry: str | None, allow: tuple[str, ...], *, everything: bool, strict: bool
) -> None:
    """Print the pipelines of FILE, or what is wrong with it.

    Layers stand outermost first, with all of `extends`, `replace` and the environment applied. The exit code is 0 if
    the file can be used, and 1 if it cannot: for CI.
    """
    from sluiceway.config import load  # noqa: PLC0415 - pydantic, which no other command needs
    from sluiceway.order import PipelineWarning  # noqa: PLC0415 - as above

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PipelineWarning)
            config = load(file, format=form, registry=_registry(registry, allow))  # type: ignore[arg-type]  # click's choice
    except (ConfigError, ImportError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(_shown(config, everything=everything))
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    sys.exit(1 if strict and config.warnings else 0)


def _registry(name: str | None, allow: tuple[str, ...]) -> Registry:
    from sluiceway.config import Registry  # noqa: PLC0415 - as above

    if name is None:
        return Registry(modules=allow)
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")  # where the command was started, as `python -m` has it
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.BadParameter(f"{name!r} cannot be had: {error}", param_hint="--registry") from None
    if not isinstance(found, Registry):
        raise click.BadParameter(f"{name!r} is a {type(found).__name__}, no Registry", param_hint="--registry")
    return found.allowing(allow)


def _shown(config: Config, *, everything: bool) -> str:
    parts = []
    for name, pipeline in config.pipelines.items():
        lines = [f"{name} (outermost first)"]
        for item, layer in zip(config.items[name], pipeline.layers, strict=True):
            about = f"  # limits.{item.shared}" if item.shared else f"  # {item.id}" if item.id else ""
            lines.append(f"  {_layer(layer, everything=everything)}{about}")
        attempts = amplification(pipeline.layers)
        lines.append(f"  at most {attempts} attempt{'s' if attempts > 1 else ''} a call")
        parts.append("\n".join(lines))
    if config.presets:
        parts.append("\n".join(["numbers from", *(f"  {preset}" for preset in config.presets)]))
    parts.append(
        f"{config.source}: {_count(config.pipelines, 'pipeline')}, {_count(config.limits, 'shared limit')}, ok"
    )
    return "\n\n".join(parts)


def _count(things: Mapping[str, Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _layer(layer: Layer, *, everything: bool) -> str:
    """Return *layer* as it would be written in code."""
    from sluiceway.config.settings import settings_of  # noqa: PLC0415 - as above

    named = settings_of(type(layer)).named
    shown = []
    for name, value in layer.settings().items():
        default = named[name].default if name in named else None
        if everything or (value is not default and value != default):
            shown.append(f"{name}={getattr(value, '__qualname__', None) or repr(value)}")
    return f"{layer.name}({', '.join(shown)})"
