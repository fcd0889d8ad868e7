"""When the state of a layer may outlive a change of its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Collection


def agrees(old: Layer, fresh: Layer, names: Collection[str]) -> bool:
    """Whether *fresh* is of the class of *old*, and the two were given the same for each of *names*.

    What else differs are numbers that can be changed under the state.
    """
    if type(fresh) is not type(old):
        return False
    was, now = Layer.settings(old), Layer.settings(fresh)
    return all(was.get(name) == now.get(name) for name in names)


def adopt_all(old: Layer, fresh: Layer, *, but: Collection[str]) -> None:
    """Give *old* all that *fresh* has, *but* the attributes that are its state."""
    for name, value in vars(fresh).items():
        if name not in but:
            setattr(old, name, value)


def adopt(old: Layer, fresh: Layer, *attributes: str) -> None:
    """Give *old* the *attributes* of *fresh*, and the arguments that it shows."""
    for name in ("_given", *attributes):
        setattr(old, name, getattr(fresh, name))
