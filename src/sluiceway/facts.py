"""Frozen dataclasses that are as cheap to make as unfrozen ones."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fact(cls: type[C]) -> type[C]:
    """Make *cls* a dataclass with `frozen=True, slots=True` whose `__init__` sets its slots directly.

    The usual one goes through `object.__setattr__` for every field, at three times the cost, and events are made four
    a call. Defaults must be immutable values, as a frozen class wants them anyway.
    """
    made: Any = dataclass(frozen=True, slots=True)(cls)
    names = [each.name for each in fields(made)]
    scope: dict[str, Any] = {f"set_{name}": getattr(made, name).__set__ for name in names}
    parameters = []
    for each in fields(made):
        if each.default is MISSING:
            parameters.append(each.name)
        else:
            scope[f"default_{each.name}"] = each.default
            parameters.append(f"{each.name}=default_{each.name}")
    body = "; ".join(f"set_{name}(self, {name})" for name in names)
    exec(f"def __init__(self, {', '.join(parameters)}): {body}", scope)  # noqa: S102 - as dataclass itself does
    init = scope["__init__"]
    init.__annotations__ = made.__init__.__annotations__
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__init__ = init
    return made  # type: ignore[no-any-return]  # the class that came in
