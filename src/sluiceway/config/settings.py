"""The settings of a class, as files give them: taken from its signature, so that there is no second vocabulary."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pydantic

from . import docstrings, kinds
from .annotations import kinds_of
from .kinds import Kind, words
from .problems import hint, hinted, quoted
from .secrets import as_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .problems import Path, Problems

_VALUES: Final = (int, float, str, bool, type(None))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a class.

    Attributes:
        name: as in its signature.
        kinds: of values that it takes.
        required: whether it must be given; default: what it is otherwise.
    """

    name: str
    kinds: tuple[Kind, ...]
    required: bool
    default: Any


class Settings:
    """The settings of one class, and the model that checks them.

    Attributes:
        cls: the class.
        named: its settings by name.
        more: whether it takes others, too.
        many: the one that is given as ``*name`` in code, and as a list in files; None if there is none.
        model: what pydantic makes of them.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.named: dict[str, Setting] = {}
        self.more = False
        self.many: str | None = None
        init: Any = inspect.getattr_static(cls, "__init__")
        names = getattr(inspect.unwrap(init), "__globals__", {})
        for parameter in () if init is object.__init__ else inspect.signature(cls).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.more = True
            else:
                self.named[parameter.name] = _setting(parameter, names)
                if parameter.kind is parameter.VAR_POSITIONAL:
                    self.many = parameter.name
        self.model = self._modelled()

    def _modelled(self) -> type[pydantic.BaseModel]:
        said = docstrings.arguments(self.cls)
        fields: dict[str, Any] = {}
        for name, setting in self.named.items():
            types = [kind.type for kind in setting.kinds] or [Any]
            union: Any = types[0]
            for each in types[1:]:
                union = union | each
            default = ... if setting.required else setting.default if isinstance(setting.default, _VALUES) else None
            fields[f"setting_{name}"] = (union, pydantic.Field(default, alias=name, description=said.get(name)))
        config = pydantic.ConfigDict(extra="allow" if self.more else "forbid", protected_namespaces=())
        return pydantic.create_model(
            self.cls.__name__, __config__=config, __doc__=docstrings.summary(self.cls), **fields
        )

    def check(self, given: Mapping[str, Any], at: Path, origin: Mapping[str, Path], problems: Problems) -> bool:
        """Note what is wrong with the values *given*; whether nothing is.

        Args:
            given: by name of the setting.
            at: where the table stands.
            origin: where a setting stands if that is elsewhere.
            problems: hear of it.
        """
        try:
            self.model.__pydantic_validator__.validate_python(dict(given))
        except pydantic.ValidationError as error:
            wrong = {str(each["loc"][0]): each["type"] for each in error.errors(include_url=False) if each["loc"]}
            meant = {hinted(name, self.named) for name, why in wrong.items() if why == "extra_forbidden"}
            for name, why in wrong.items():
                if why == "missing" and name in meant:
                    continue  # it is there, misspelt
                problems.add(origin.get(name, at if why == "missing" else (*at, name)), self._said(name, why, given))
            return False
        return True

    def _said(self, name: str, why: str, given: Mapping[str, Any]) -> str:
        if why == "missing":
            return f"{self.cls.__name__} needs {name!r}: {words(self.named[name].kinds)}"
        if why == "extra_forbidden":
            return f"{self.cls.__name__} has no setting {name!r}: {hint(name, self.named)}"
        return f"{quoted(given[name])} must be {words(self.named[name].kinds)}"

    def prepared(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return *given* with numbers where texts from the environment spell numbers, and texts are not wanted."""
        return {name: self._number(name, value) for name, value in given.items()}

    def _number(self, name: str, value: Any) -> Any:
        setting = self.named.get(name)
        if setting is None or any(kind.fits(value) for kind in setting.kinds):
            return value
        return as_number(value)


def _setting(parameter: inspect.Parameter, names: Mapping[str, Any]) -> Setting:
    if parameter.annotation is parameter.empty:
        found: tuple[Kind, ...] = (kinds.ANYTHING,)
    else:
        found = kinds_of(parameter.annotation, names)
    many = parameter.kind is parameter.VAR_POSITIONAL
    if many:
        found = tuple(kinds.several(kind) for kind in found)
    required = parameter.default is parameter.empty and not many
    default = () if many else None if required else parameter.default
    if not required and not many and default is None and kinds.NOTHING not in found:
        found = (*found, kinds.NOTHING)
    return Setting(parameter.name, found, required, default)


@lru_cache(maxsize=256)
def settings_of(cls: type) -> Settings:
    """Return the settings of *cls*."""
    return Settings(cls)
