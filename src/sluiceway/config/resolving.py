"""From the sections of a file to the layers of each pipeline: references, `extends`, `replace` and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from . import presets
from .environment import Override, meant, overrides
from .items import Item, item_of, merged
from .problems import hint, quoted

if TYPE_CHECKING:
    from .problems import Path, Problems

_SESSION: Final = "session"


class Resolver:
    """Resolves the sections of one file.

    Args:
        data: the sections, in their outer shape as they should be.
        environ: whose variables override settings.
        problems: hear what is wrong.

    Attributes:
        limits: the shared layers by name.
        pipelines: the layers of each pipeline, outermost first.
        session: settings of a session; session_origin: where they stand, if elsewhere.
    """

    def __init__(self, data: Mapping[str, Any], environ: Mapping[str, str], problems: Problems) -> None:
        self._problems = problems
        self._tables: dict[str, dict[str, Any]] = data["pipelines"]
        self._overrides = overrides(environ)
        self.limits: dict[str, Item] = {}
        for name, raw in data["limits"].items():
            item = item_of(raw, ("limits", name), {}, problems, shared=False)
            if item is not None:
                self.limits[name] = item
        self._there = dict.fromkeys(data["limits"])
        self.pipelines: dict[str, list[Item]] = {}
        self._broken: set[str] = set()
        self.session: dict[str, Any] = dict(data[_SESSION])
        self.session_origin: dict[str, Path] = {}
        self._override_limits()
        self._override_session()
        for name in self._tables:
            self._pipeline(name, ())
        for override in self._of("pipelines"):
            if not override.way or meant(override.way[0], self._tables) is None:
                self._nothing(override, self._tables)

    # ------------------------------------------------------------------ pipelines

    def _pipeline(self, name: str, trail: tuple[str, ...]) -> list[Item]:
        """Return the layers of the pipeline *name*, which those of *trail* extend."""
        if name in self.pipelines:
            return self.pipelines[name]
        at: Path = ("pipelines", name)
        table = self._tables[name]
        if "layers" in table and "extends" in table:
            self._problems.add((*at, "extends"), "a pipeline has either layers or extends another one, not both")
        if "layers" not in table and "extends" not in table and not (set(table) - {"replace"}):
            self._problems.add(at, 'a pipeline needs layers = [...], or extends = "the name of another"')
        extended = self._extended(table, at, (*trail, name)) if "extends" in table else None
        items = self._written(table, at) if extended is None else extended
        if "extends" in table and extended is None:
            self._broken.add(name)
        for called, change in (table.get("replace") or {}).items():
            where: Path = (*at, "replace", called)
            if "extends" not in table:
                self._problems.add(where, "there is nothing to replace: this pipeline extends none")
            elif extended is not None and change is not None:
                items = self._replaced(items, called, change, where)
        self.pipelines[name] = self._overridden(name, items)
        self._once(self.pipelines[name])
        return self.pipelines[name]

    def _once(self, items: list[Item]) -> None:
        """Note ids that stand twice in one pipeline."""
        ids = [item.id for item in items if item.id]
        for item in items:
            if ids.count(item.id) > 1:
                self._problems.add((*item.at, "id"), f"{item.id!r} is the id of another layer of the pipeline already")

    def _written(self, table: Mapping[str, Any], at: Path) -> list[Item]:
        found = []
        for i, raw in enumerate(table.get("layers") or ()):
            item = None if raw is None else item_of(raw, (*at, "layers", i), self._there, self._problems)
            if item is not None:
                found.append(item)
        return found

    def _extended(self, table: Mapping[str, Any], at: Path, trail: tuple[str, ...]) -> list[Item] | None:
        """Return the layers of what *table* extends; None, and a problem noted, if that is nothing."""
        base = table["extends"]
        try:
            preset = presets.written(base)
        except ValueError as error:
            self._problems.add((*at, "extends"), str(error))
            return None
        if preset is not None:
            raw = [dict(layer) for layer in preset.layers]
            found = [item_of(each, (*at, "extends"), self._there, self._problems) for each in raw]
            return [item.from_preset(preset) for item in found if item is not None]
        if base in trail:
            circle = " -> ".join((*trail[trail.index(base) :], base))
            self._problems.add((*at, "extends"), f"{base!r}: pipelines extend one another in a circle, {circle}")
            return None
        if base not in self._tables:
            self._problems.add((*at, "extends"), f"{quoted(base)} is no pipeline: {hint(base, self._tables)}")
            return None
        items = self._pipeline(base, trail)
        return None if base in self._broken else list(items)

    def _replaced(
        self, items: list[Item], called: str, change: dict[str, Any] | Literal[False], where: Path
    ) -> list[Item]:
        """Return *items* with *change* of the one that is *called* so, by its id or its name."""
        place = self._place(items, called, where)
        if place is None:
            return items
        before = items[place]
        if change is False:
            return items[:place] + items[place + 1 :]
        if "use" in change or "ref" in change:
            named = {"id": before.id, **change} if before.id else change
            fresh = item_of(named, where, self._there, self._problems)
            return items if fresh is None else [*items[:place], fresh, *items[place + 1 :]]
        if before.shared:
            self._problems.add(
                where,
                f"{called!r} is the shared limit limits.{before.shared}: change it there, or replace it by another "
                "with `use` or `ref`",
            )
            return items
        if "id" in change:
            self._problems.add((*where, "id"), "an id stands with the layer itself")
            change = {name: value for name, value in change.items() if name != "id"}
        origin = {name: (*where, name) for name in change}
        return [*items[:place], before.with_settings(change, origin), *items[place + 1 :]]

    def _place(self, items: list[Item], called: str, where: Path) -> int | None:
        exact = [i for i, item in enumerate(items) if item.id == called]
        found = exact or [i for i, item in enumerate(items) if item.called(called)]
        if len(found) == 1:
            return found[0]
        if found:
            self._problems.add(where, f"{called!r} stands {len(found)} times: give each an id, and replace by that")
        else:
            self._problems.add(where, f"there is no layer {called!r}: {hint(called, {item.name for item in items})}")
        return None

    # ------------------------------------------------------------------ the environment

    def _of(self, section: str) -> list[Override]:
        return [each for each in self._overrides if each.section == section]

    def _overridden(self, name: str, items: list[Item]) -> list[Item]:
        for override in self._of("pipelines"):
            if override.way and meant(override.way[0], [name]):
                items = self._override(items, override)
        return items

    def _override(self, items: list[Item], override: Override) -> list[Item]:
        names = [name for item in items for name in (item.id, item.shared, item.use) if name]
        called = meant(override.way[1], names) if len(override.way) > 2 else None
        if called is None:
            self._nothing(override, names)
            return items
        where: Path = (f"${override.variable}",)
        place = self._place(items, called, where)
        if place is None:
            return items
        if items[place].shared:
            self._problems.add(where, f"limits.{items[place].shared} is shared: override it there")
            return items
        change, origin = _change(override, override.way[2:], items[place].settings)
        return [*items[:place], items[place].with_settings(change, origin), *items[place + 1 :]]

    def _override_limits(self) -> None:
        for override in self._of("limits"):
            name = meant(override.way[0], self.limits) if len(override.way) > 1 else None
            if name is None:
                self._nothing(override, self.limits)
            else:
                change, origin = _change(override, override.way[1:], self.limits[name].settings)
                self.limits[name] = self.limits[name].with_settings(change, origin)

    def _override_session(self) -> None:
        for override in self._of(_SESSION):
            if not override.way or not all(override.way):
                self._nothing(override, ())
            else:
                change, origin = _change(override, override.way, self.session)
                self.session = merged(self.session, change)
                self.session_origin |= origin

    def _nothing(self, override: Override, names: Any) -> None:
        self._problems.add((f"${override.variable}",), f"it overrides nothing that is there: {hint('', names)}")


def _change(override: Override, way: tuple[str, ...], before: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the settings that *override* changes, and where they stand; *way* leads to the one that it says.

    Names that *before* has are meant in any case, as those of tenants and models are.
    """
    names = []
    for part in way:
        table = before if isinstance(before, Mapping) else {}
        names.append(meant(part, table) or part.lower())
        before = table.get(names[-1])
    value: Any = override.value
    for name in reversed(names):
        value = {name: value}
    return value, {names[0]: (f"${override.variable}",)}
