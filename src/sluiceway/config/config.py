"""What a file of pipelines gives: pipelines, shared limits and the settings of a session."""

from __future__ import annotations

import asyncio
import os
import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sluiceway.events import ConfigRejected, ConfigReloaded
from sluiceway.order import PipelineWarning, check
from sluiceway.session import Session
from sluiceway.telemetry.hub import publish

from .compiling import Compiled, compiled
from .handle import PipelineHandle
from .problems import Problems, hint
from .registry import Registry
from .sources import Format, Source, read
from .watching import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.durations import Duration
    from sluiceway.layer import Layer

    from .items import Item


def load(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    /,
    *,
    text: str | None = None,
    format: Format | None = None,
    registry: Registry | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the pipelines that a file, a text or a mapping describes.

    ``config = load("pipeline.toml"); ask = config.pipelines["chat"](ask)``. What is unwise about the order of layers is
    a `PipelineWarning`, as where a `Pipeline` is built in code.

    Args:
        source: the path of a TOML, YAML or JSON file, or a mapping of the same shape.
        text: what such a file says, in place of *source*.
        format: `"toml"`, `"yaml"` or `"json"`; needed for *text*, and for a path that does not end so.
        registry: what names in it stand for, beside layers; and which modules it may name things of.
        environ: variables that override settings (see `config.environment`) and hold what ``"env:NAME"`` refers to;
            None for those of the process.

    Raises:
        ConfigError: something is wrong with it; the error tells all of it.
        MissingExtra: it is YAML, and PyYAML is not installed.
        TypeError: the arguments do not fit together.
    """
    config = Config(
        read(source, text, format), registry or Registry(), os.environ if environ is None else environ, format
    )
    for warning in config.warnings:
        warnings.warn(warning, PipelineWarning, stacklevel=2)
    return config


class Config:
    """Pipelines of a file, which can be read again while they are in use. Made by `load`."""

    def __init__(
        self,
        source: Source,
        registry: Registry,
        environ: Mapping[str, str],
        form: Format | None = None,
    ) -> None:
        self._registry = registry
        self._environ = environ
        self._format = form
        self._source = source
        self._now: Compiled = compiled(source, registry, environ)
        handles = {name: PipelineHandle(name, layers) for name, layers in self._now.pipelines.items()}
        self._handles = _Named(handles)
        self._ever = dict(handles)

    @property
    def source(self) -> str:
        """The path of the file; `<text>` or `<mapping>` without one."""
        return self._source.name

    @property
    def pipelines(self) -> Mapping[str, PipelineHandle]:
        """The pipelines by name. Hold on to one: it goes on with what the file says of it later."""
        return MappingProxyType(self._handles)

    @property
    def limits(self) -> Mapping[str, Layer]:
        """The shared layers by name, as they are now."""
        return MappingProxyType(dict(self._now.limits))

    @property
    def items(self) -> Mapping[str, tuple[Item, ...]]:
        """What the file says of each layer of each pipeline, outermost first."""
        return MappingProxyType(dict(self._now.items))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unwise, a sentence each."""
        return self._now.warnings

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets that it starts from, each with the source of its numbers and their date."""
        made = self._now.maker.made.values()
        return tuple(sorted({str(each.item.preset) for each in made if each.item.preset is not None}))

    def session(self, **more: Any) -> Session:
        """Return a new `Session` with the settings of the section `session`, and *more*, which win."""
        settings = {**self._now.session, **more}
        if isinstance(settings.get("pipeline"), str):
            settings["pipeline"] = self._handles[settings["pipeline"]]
        return Session(**settings)

    # ------------------------------------------------------------------ again

    def reload(
        self,
        source: Mapping[str, Any] | None = None,
        /,
        *,
        text: str | None = None,
        format: Format | None = None,
    ) -> tuple[str, ...]:
        """Read the file again, or *source* or *text* in place of it; return the names of the pipelines that changed.

        Nothing is changed unless all is right. Then every pipeline goes on with its new layers from the next call
        on, all in one step of the event loop; calls in flight finish with those that they began with. A layer whose
        settings are the same stays the same object. One of which only numbers changed keeps its state: the level of a
        bucket, the places in flight, the state of a circuit, what is spent of a budget, and who waits. Any other change
        begins anew. A pipeline that is gone from the file keeps its last layers for those who hold on to it; if it
        comes back it is the same object, with the same state. One that functions are bound to cannot go: a file
        without it is more likely half written.

        Call it where the pipelines run, not in another thread.

        Raises:
            ConfigError: something is wrong with it; all stays as it was.
        """
        if source is None and text is None:
            fresh = read(self._source.name, None, self._format)
        else:
            fresh = read(source, text, format)
        in_use = self._in_use(fresh)
        self._fits(fresh, compiled(fresh, self._registry, self._environ, None, in_use))
        now = compiled(fresh, self._registry, self._environ, self._now.maker, in_use)
        changed = []
        before = self._now
        handles = {}
        for name, layers in now.pipelines.items():
            handle = handles[name] = self._ever[name] = self._ever.get(name) or PipelineHandle(name, layers)
            retuned = _said(before.items.get(name), before) != _said(now.items[name], now)
            if handle.exchange(layers) or retuned or name not in before.pipelines:
                changed.append(name)
        changed += [name for name in before.pipelines if name not in now.pipelines]
        self._now = now
        self._handles = _Named(handles)
        self._source = Source(self._source.name, fresh.data, fresh.lines, fresh.stamp)
        publish(ConfigReloaded(_now(), None, self._source.name, tuple(changed), now.warnings))
        return tuple(changed)

    def _in_use(self, fresh: Source) -> list[str]:
        """Return the pipelines that *fresh* must have: those with functions, and all if it says nothing whatever."""
        return [name for name, handle in self._handles.items() if not fresh.data or handle.in_use]

    def _fits(self, fresh: Source, tried: Compiled) -> None:
        """Refuse *fresh*, of which all was *tried*, if what pipelines were put around or beside in code forbids it.

        Raises:
            ConfigError: a limit of the file would stand twice in what was made of them: a call would wait for itself.
        """
        problems = Problems(fresh.name, fresh.lines)
        coming = {name: tried.maker.going_on(layers, self._now.maker) for name, layers in tried.pipelines.items()}
        ours = {id(handle): name for name, handle in self._ever.items() if name in coming}
        for name, handle in self._ever.items():
            for chain in handle.followers or ():
                parts = [coming[ours[id(part)]] if id(part) in ours else part.stands_for() for part in chain.parts]
                try:
                    check([layer for part in parts for layer in part])
                except ValueError as error:
                    problems.add(("pipelines", name), f"with what stands around or beside it in code, {error}")
        problems.raise_if_any()

    def watch(self, every: Duration = "1s") -> Watch:
        """Return ``async with config.watch("1s"):``, which reads the file again whenever it changes.

        A file that is wrong, empty, half written or gone changes nothing: it is told as `ConfigRejected`, and once it
        is right it counts. What was read is told as `ConfigReloaded`. Both go to the log and to `telemetry.listen`.

        Args:
            every: how often it looks whether the file is another.

        Raises:
            ValueError: it was not loaded from a path.
        """
        if self._source.name.startswith("<"):
            raise ValueError(f"{self._source.name} is no file: there is nothing to watch")
        return Watch(self._source.name, self._try, every, self._source.stamp)

    def _try(self) -> bool:
        """Read the file again; whether nothing was wrong with it."""
        try:
            self.reload()
        except Exception as error:  # noqa: BLE001 - of somebody else's layer, say: no file may end the watch unheard
            publish(ConfigRejected(_now(), None, self._source.name, error))
            return False
        return True

    def __repr__(self) -> str:
        return f"<Config {self.source}: {', '.join(self._handles) or 'no pipelines'}>"


class _Named(dict[str, PipelineHandle]):
    """Pipelines by name; asked for one that is not there, it tells which are."""

    def __missing__(self, name: object) -> PipelineHandle:
        raise KeyError(f"no pipeline is called {name!r}: {hint(name, self)}")


def _said(items: tuple[Item, ...] | None, of: Compiled) -> list[Any]:
    """Return what is said of *items*, shared limits included, as far as a change of it is one of the pipeline."""
    found = []
    for item in items or ():
        shared = of.maker.made["limits", item.shared].item.settings if item.shared else {}
        found.append((item.use, dict(item.settings), dict(shared)))
    return found


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0
