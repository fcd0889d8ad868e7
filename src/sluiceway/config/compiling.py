"""All that a file says, made: what there is to use once nothing is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluiceway.order import check
from sluiceway.running import Chain
from sluiceway.session import Session

from .document import checked
from .making import Maker
from .problems import Problems, hint
from .resolving import Resolver
from .secrets import resolved
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sluiceway.layer import Layer

    from .items import Item
    from .problems import Path
    from .registry import Registry
    from .sources import Source

_PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was made of a file.

    Attributes:
        limits: the shared layers by name.
        pipelines: the layers of each pipeline, outermost first; items: what was said of them.
        session: settings for `Session`; the pipeline is a name.
        warnings: what is unwise, a sentence each.
        maker: who made it, so that a later file can go on with it.
    """

    limits: Mapping[str, Layer]
    pipelines: Mapping[str, tuple[Layer, ...]]
    items: Mapping[str, tuple[Item, ...]]
    session: Mapping[str, Any]
    warnings: tuple[str, ...]
    maker: Maker


def compiled(
    source: Source,
    registry: Registry,
    environ: Mapping[str, str],
    before: Maker | None = None,
    in_use: Collection[str] = (),
) -> Compiled:
    """Return what *source* says, made; going on with what was made *before* where that is still meant.

    To go on changes what was made before: compile without it first, so that a file that is wrong changes nothing.

    Pipelines *in use* must be in it: an empty file is right otherwise, and is what is seen while one is written.

    Raises:
        ConfigError: something is wrong with it; all of it is in the error.
    """
    problems = Problems(source.name, source.lines)
    for name in _missing(source, in_use):
        problems.add(("pipelines", name), "it is in use and not in the file: write it again, or start anew without it")
    data = resolved(checked(source, problems), environ, problems)
    resolver = Resolver(data, environ, problems)
    maker = Maker(registry, problems, before)
    maker.shared = resolver.limits
    for name, item in resolver.limits.items():
        layer = maker.layer(item, ("limits", name))
        if layer is not None:
            maker.limits[name] = layer
    pipelines = {name: _pipeline(name, items, maker) for name, items in resolver.pipelines.items()}
    warnings = []
    for name, layers in pipelines.items():
        warnings += [f"pipelines.{name}: {text}" for text in _order(name, layers, problems)]
        if before is None:
            _put_together(name, layers, problems)
    session = _session(resolver, maker, problems)
    problems.raise_if_any()
    maker.remember()
    warnings += [f"limits.{name} is used by no pipeline" for name in _unused(resolver, maker)]
    items = {name: tuple(items) for name, items in resolver.pipelines.items()}
    said = tuple(dict.fromkeys([*maker.warnings, *warnings]))
    return Compiled(maker.limits, pipelines, items, session, said, maker)


def _missing(source: Source, in_use: Collection[str]) -> list[str]:
    """Return which of the pipelines *in use* are not in *source*."""
    there = source.data.get("pipelines", {})
    return [name for name in in_use if name not in there] if isinstance(there, dict) else []


def _unused(resolver: Resolver, maker: Maker) -> list[str]:
    """Return the shared limits that nothing names, if there are pipelines that could."""
    used = {item.shared for items in resolver.pipelines.values() for item in items}
    inside = {id(layer) for made in maker.made.values() for layer in made.inner}
    unused = [name for name, layer in maker.limits.items() if name not in used and id(layer) not in inside]
    return unused if resolver.pipelines else []


def _pipeline(name: str, items: list[Item], maker: Maker) -> tuple[Layer, ...]:
    """Return the layers of *items*; those that cannot be made are left out, and noted."""
    found = []
    seen: dict[str, int] = {}
    for item in items:
        number = seen[item.name] = seen.get(item.name, 0) + 1
        layer = maker.layer(item, ("pipelines", name, item.name, str(number)))
        if layer is not None:
            found.append(layer)
    return tuple(found)


def _order(name: str, layers: tuple[Layer, ...], problems: Problems) -> list[str]:
    try:
        return check(layers)
    except ValueError as error:
        problems.add(("pipelines", name), str(error))
        return []


def _put_together(name: str, layers: tuple[Layer, ...], problems: Problems) -> None:
    """Put *layers* together once, so that one that cannot be is found before anything is exchanged."""
    try:
        Chain(layers, name)
    except Exception as error:  # noqa: BLE001 - whatever a layer of somebody else's says
        problems.add(("pipelines", name), f"its layers cannot be put together: {type(error).__name__}: {error}")


def _session(resolver: Resolver, maker: Maker, problems: Problems) -> dict[str, Any]:
    """Return the settings of the section `session`, checked."""
    given = resolver.session
    at: Path = ("session",)
    settings = settings_of(Session)
    named = given.get(_PIPELINE)
    rest = settings.prepared({name: value for name, value in given.items() if name != _PIPELINE})
    if _PIPELINE in given and (not isinstance(named, str) or named not in resolver.pipelines):
        where = resolver.session_origin.get(_PIPELINE, (*at, _PIPELINE))
        problems.add(where, f"{named!r} is no pipeline: {hint(named, resolver.pipelines)}")
    if not settings.check(rest, at, resolver.session_origin, problems):
        return {}
    made = maker.settings(settings, rest, at, resolver.session_origin)
    if made is None:
        return {}
    maker.tried(Session, made, at, resolver.session_origin)
    return {**made, **({_PIPELINE: named} if _PIPELINE in given else {})}
