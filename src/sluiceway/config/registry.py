"""Names for what cannot be written into a file: functions, objects and layers of the application."""

from __future__ import annotations

import importlib
import inspect
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sluiceway.arguments import argument
from sluiceway.layer import Layer
from sluiceway.queues.fair import tenant

from .problems import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sluiceway.call import Call

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ELSEWHERE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def model(call: Call) -> str | None:
    """Return the model that *call* asks, by its argument `model`."""
    asked = argument(call, "model")
    return asked if isinstance(asked, str) else None


def priority(call: Call) -> int:
    """Return how urgent *call* is, as `hints(priority=...)` said."""
    return call.hints.priority


OURS: Final[Mapping[str, Callable[[Call], Any]]] = MappingProxyType(
    {"model": model, "priority": priority, "tenant": tenant}
)
"""Keys of a call that have a name everywhere."""


class Registry:
    """What names in a file may stand for, beside the layers of this package and of installed ones.

    ``registry = Registry(); registry.add("by_plan", by_plan)``, or ``@registry.register`` above a function or a class
    of layers, which then has its own name. In files, `model`, `tenant` and `priority` are there already. Nothing that
    a file says imports anything, unless the application names the module: with ``modules=["myapp.keys"]`` a file may
    say ``by = "myapp.keys:by_plan"``.

    Args:
        named: names and what they stand for.
        modules: modules that files may name things of, each by its full name.

    Raises:
        TypeError: a name or module is no str.
        ValueError: a name is not made of letters, digits, ``_``, ``-`` and ``.``.
    """

    def __init__(self, named: Mapping[str, Any] | None = None, *, modules: Iterable[str] = ()) -> None:
        self._named: dict[str, Any] = dict(OURS)
        if isinstance(modules, str):
            raise TypeError(f"modules={modules!r} must be a list of names")
        self._modules = tuple(modules)
        for module in self._modules:
            if not isinstance(module, str):
                raise TypeError(f"modules: {module!r} must be the full name of a module")
        for name, thing in (named or {}).items():
            self.add(name, thing)

    def add(self, name: str, thing: T) -> T:
        """Let *name* stand for *thing*, and return that.

        Raises:
            TypeError: *name* is no str.
            ValueError: *name* cannot be one, or stands for something else already.
        """
        if not isinstance(name, str):
            raise TypeError(f"name={name!r} must be a str")
        if not _NAME.fullmatch(name):
            raise ValueError(f"name={name!r} must be made of letters, digits, `_`, `-` and `.`")
        if self._named.get(name, thing) is not thing:
            raise ValueError(f"{name!r} stands for {self._named[name]!r} already")
        self._named[name] = thing
        return thing

    def register(self, thing: T) -> T:
        """Let the name of *thing*, a function or class, stand for it; a decorator."""
        self.add(getattr(thing, "__name__", ""), thing)
        return thing

    def allowing(self, modules: Iterable[str]) -> Registry:
        """Return a registry of the same names in which files may name things of *modules*, too."""
        return Registry(self._named, modules=(*self._modules, *modules))

    def layers(self) -> dict[str, type[Layer]]:
        """Return the classes of layers among what has a name."""
        return {name: thing for name, thing in self._named.items() if _is_layer(thing)}

    def knows(self, name: str) -> bool:
        """Return whether *name* stands for something, or is that of a thing in a module."""
        return name in self._named or _ELSEWHERE.fullmatch(name) is not None

    def find(self, name: str) -> Any:
        """Return what *name* stands for.

        Raises:
            LookupError: it stands for nothing, or names a module that is not allowed.
        """
        if name in self._named:
            return self._named[name]
        if not _ELSEWHERE.fullmatch(name):
            raise LookupError(f"{name!r} stands for nothing: {hint(name, self._named)}")
        module, _, attribute = name.partition(":")
        if module not in self._modules:
            raise LookupError(
                f"{name!r}: a file imports nothing of its own accord; allow it by load(..., "
                f"registry=Registry(modules=[{module!r}]))"
            )
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            raise LookupError(f"{name!r}: the module {module} has no {attribute}") from None

    def name_of(self, thing: Any) -> str | None:
        """Return the name that stands for *thing*; None if none does."""
        for name, named in self._named.items():
            if named is thing:
                return name
        module, own = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        return f"{module}:{own}" if module in self._modules and own and "." not in own else None

    def __repr__(self) -> str:
        return f"<Registry of {', '.join(sorted(self._named))}>"


def _is_layer(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Layer)
