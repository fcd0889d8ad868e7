"""One layer, as a file says it: before it is made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from . import presets
from .problems import hint, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .presets import Preset
    from .problems import Path, Problems

LIMITS: Final = "limits."
_OURS: Final = ("use", "ref", "id")


@dataclass(frozen=True, slots=True)
class Item:
    """One layer of a pipeline, as a file says it.

    Attributes:
        use: the name of its class; `""` if it is shared.
        shared: the name of the shared limit that stands here; `""` if it is the pipeline's own.
        id: what it is called where its name stands twice; `""` for nothing.
        settings: as given.
        at: where it stands.
        origin: where a setting stands, if that is elsewhere.
        preset: where its numbers come from, if that is a preset.
    """

    use: str
    shared: str
    id: str
    settings: Mapping[str, Any]
    at: Path
    origin: Mapping[str, Path] = field(default_factory=dict)
    preset: Preset | None = None

    @property
    def name(self) -> str:
        """What it is called in the pipeline: its id, else the name of the limit or of its class."""
        return self.id or self.shared or self.use

    def called(self, name: str) -> bool:
        """Whether it can be meant by *name*."""
        return bool(name) and name in (self.id, self.use, self.shared)

    def from_preset(self, preset: Preset) -> Item:
        """Return it as part of *preset*."""
        return replace(self, preset=preset)

    def with_settings(self, more: dict[str, Any], origin: Mapping[str, Path]) -> Item:
        """Return it with *more* settings, which stand at *origin*; tables are merged."""
        return replace(self, settings=merged(dict(self.settings), more), origin={**self.origin, **origin})


def merged(before: Any, more: Any) -> Any:
    """Return *before* with what *more* says; a table that says what to use begins anew."""
    if not isinstance(before, dict) or not isinstance(more, dict) or "use" in more:
        return more
    return {**before, **{name: merged(before.get(name), value) for name, value in more.items()}}


def item_of(raw: Any, at: Path, limits: Mapping[str, Any], problems: Problems, *, shared: bool = True) -> Item | None:
    """Return the layer that *raw* says; None, and a problem noted, if it says none.

    Args:
        raw: a table with `use` or `ref`.
        at: where it stands.
        limits: the shared ones by name.
        problems: hear what is wrong.
        shared: whether it may be a reference.
    """
    form = 'a layer is a table such as { use = "bounded", limit = 30 }' + (
        ' or { ref = "limits.openai" }' if shared else ""
    )
    if not isinstance(raw, dict):
        problems.add(at, f"{quoted(raw)}: {form}")
        return None
    if "ref" in raw and shared:
        return _reference(raw, at, limits, problems)
    use = raw.get("use")
    if not isinstance(use, str) or not use:
        problems.add((*at, "use") if "use" in raw else at, f"{quoted(use)}: {form}" if "use" in raw else form)
        return None
    name = _id(raw, at, problems)
    settings = {key: value for key, value in raw.items() if key not in _OURS}
    if "ref" in raw:
        problems.add((*at, "ref"), "a shared limit cannot be a reference itself")
        return None
    return _preset(use, name, settings, at, problems)


def _preset(use: str, name: str, settings: dict[str, Any], at: Path, problems: Problems) -> Item | None:
    """Return the item of *use*, with what it says in place of it if it is a preset."""
    try:
        preset = presets.written(use)
    except ValueError as error:
        problems.add((*at, "use"), str(error))
        return None
    if preset is None:
        return Item(use, "", name, settings, at)
    if len(preset.layers) != 1:
        problems.add((*at, "use"), f'{use!r} has several layers: write extends = "{use}" in a pipeline')
        return None
    layer = dict(preset.layers[0])
    return Item(layer.pop("use"), "", name, {**layer, **settings}, at, {}, preset)


def _reference(raw: dict[str, Any], at: Path, limits: Mapping[str, Any], problems: Problems) -> Item | None:
    ref = raw["ref"]
    more = sorted(set(raw) - {"ref", "id"})
    if more:
        problems.add((*at, more[0]), f"{more[0]!r} cannot be set beside `ref`: the limit is shared, set it there")
    name = ref.removeprefix(LIMITS) if isinstance(ref, str) and ref.startswith(LIMITS) else None
    if name is None or name not in limits:
        there = [LIMITS + each for each in limits]
        problems.add((*at, "ref"), f"{quoted(ref)} is no shared limit: {hint(ref, there)}")
        return None
    return Item("", name, _id(raw, at, problems), {}, at)


def _id(raw: dict[str, Any], at: Path, problems: Problems) -> str:
    """Return the id that *raw* gives; `""` if it gives none, or one that is no name, which is noted."""
    name = raw.get("id", "")
    if isinstance(name, str) and (name or "id" not in raw):
        return name
    problems.add((*at, "id"), f"{quoted(name)} must be a name")
    return ""
