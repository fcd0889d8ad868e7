"""From what files say to layers: new ones, or those that were there before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sluiceway.layer import Layer
from sluiceway.layers import registered

from .items import Item, item_of
from .problems import hint
from .values import Values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .kinds import Kind
    from .problems import Path, Problems
    from .registry import Registry
    from .values import Owner


class Made:
    """A layer that was made, and of what.

    Attributes:
        item: what was said.
        layer: what was made of it.
        inner: the layers that stand in its settings.
    """

    __slots__ = ("inner", "item", "layer")

    def __init__(self, item: Item, layer: Layer, inner: tuple[Layer, ...]) -> None:
        self.item = item
        self.layer = layer
        self.inner = inner


class Maker(Values):
    """Makes the layers of one file, and goes on with those that were made before where it can.

    Args:
        registry: what names stand for.
        problems: hear what is wrong.
        before: who made what the file said before.

    Attributes:
        made: each layer by where it stands.
        limits: the shared layers by name.
        gone: the layers of pipelines and limits that earlier files had: one that comes back goes on with them.
    """

    def __init__(self, registry: Registry, problems: Problems, before: Maker | None = None) -> None:
        super().__init__(registry, problems, before)
        self.made: dict[Owner, Made] = {}
        self.limits: dict[str, Layer] = {}
        self.gone: dict[Owner, Made] = {}
        self.shared: dict[str, Item] = {}
        self._before = before
        self._layers: dict[str, type[Layer]] = {**registered(), **registry.layers()}
        self._inside: list[list[Layer]] = [[]]
        self._begun: set[str] = set()
        self._numbers: Counter[Owner] = Counter()

    def remember(self) -> None:
        """Take note of what was made before for pipelines and limits that the file has no more, and of nothing else."""
        if self._before is None:
            return
        there = {owner[:2] for owner in self.made}
        earlier = {**self._before.gone, **self._before.made}
        self.gone = {owner: made for owner, made in earlier.items() if owner[:2] not in there}
        self._before = self._earlier = None  # else each file that was ever read would be kept, and all that it made

    # ------------------------------------------------------------------ layers

    def layer(self, item: Item, owner: Owner) -> Layer | None:
        """Return the layer of *item*, known as *owner* to a later file; None, and problems noted, if there is none."""
        if owner[0] == "limits":
            self._begun.add(owner[1])
        if item.shared:
            shared = self.limits.get(item.shared)
            if shared is not None:
                self._inside[-1].append(shared)
            return shared
        cls = self._class_of(item)
        if cls is None:
            return None
        self._inside.append([])
        outer = self._owner, self._way
        self._owner, self._way = owner, ()
        try:
            fresh = self._object(cls, item.settings, item.at, item.origin)
        finally:
            self._owner, self._way = outer
            inner = tuple(self._inside.pop())
        if fresh is None:
            return None
        layer = self._gone_on(Made(item, fresh, inner), owner)
        self.made[owner] = Made(item, layer, inner)
        self._inside[-1].append(layer)
        return layer

    def going_on(self, layers: Iterable[Layer], before: Maker) -> list[Layer]:
        """Return *layers*, made here, with those that *before* made in place of the ones that would go on with them."""
        found = {id(made.layer): before.known(owner) for owner, made in self.made.items()}
        olds = [(layer, found.get(id(layer))) for layer in layers]
        return [layer if old is None or type(old.layer) is not type(layer) else old.layer for layer, old in olds]

    def known(self, owner: Owner) -> Made | None:
        """Return what was made for *owner*, by this file or an earlier one; None if nothing was."""
        return self.made.get(owner) or self.gone.get(owner)

    def _gone_on(self, now: Made, owner: Owner) -> Layer:
        """Return the layer that stood at *owner* before, if it is still what is meant; else what comes of it."""
        old = None if self._before is None else self._before.known(owner)
        if old is None or type(old.layer) is not type(now.layer):
            return now.layer
        same = old.item.settings == now.item.settings
        if same and len(old.inner) == len(now.inner) and all(map(_is, old.inner, now.inner)):
            return old.layer
        try:
            return old.layer.renewed(now.layer)
        except Exception as error:  # noqa: BLE001 - a layer of somebody else's; half a reload would be worse than a fresh one
            self.warnings.append(
                f"{'.'.join(owner)} begins anew: its renewed() failed with {type(error).__name__}: {error}"
            )
            return now.layer

    def _class_of(self, item: Item) -> type[Layer] | None:
        found = self._layers.get(item.use)
        if found is None and ":" in item.use:
            found = self._found(item.use, (*item.at, "use"))
            if found is not None and not (isinstance(found, type) and issubclass(found, Layer)):
                self._problems.add((*item.at, "use"), f"{item.use!r} is no class of layers")
                return None
        elif found is None:
            self._problems.add((*item.at, "use"), f"no layer is called {item.use!r}: {hint(item.use, self._layers)}")
        return found

    def _layer(self, value: dict[str, Any], _: Kind, at: Path) -> Layer | None:
        item = item_of(value, at, self.shared, self._problems)
        if item is None:
            return None
        if item.shared and item.shared not in self._begun:
            self._problems.add((*at, "ref"), f"limits.{item.shared} is made later: write it above")
        owner = (*self._owner, *self._way, item.name)  # by names: places change when others come and go
        self._numbers[owner] += 1
        return self.layer(item, (*owner, str(self._numbers[owner])))


def _is(one: object, other: object) -> bool:
    return one is other
