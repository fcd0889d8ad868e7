"""The outer shape of a file: its sections, each checked before anything in it is made."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic

from .problems import hint, quoted

if TYPE_CHECKING:
    from .problems import Path, Problems
    from .sources import Source

VERSION: Final = 1

_Name = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _false(value: Any) -> Any:
    if value:
        raise ValueError("it is not false")
    return value


_LeftOut = Annotated[pydantic.StrictBool, pydantic.AfterValidator(_false)]  # to Literal[False], 0 would be the same
_CONFIG: Final = pydantic.ConfigDict(extra="forbid", strict=True)


class PipelineTable(pydantic.BaseModel):
    """Layers in order, outermost first; or another pipeline with some settings replaced."""

    model_config = _CONFIG

    layers: list[dict[str, Any]] | None = pydantic.Field(None, description="Outermost first.")
    extends: str | None = pydantic.Field(None, description="Another pipeline, or a preset such as presets.batch.")
    replace: dict[str, dict[str, Any] | _LeftOut] | None = pydantic.Field(
        None, description="Other settings of its layers, by name or id; false leaves one out."
    )


class Document(pydantic.BaseModel):
    """A file of pipelines."""

    model_config = _CONFIG

    version: Literal[1] = pydantic.Field(1, description="Of the schema of this file.")
    limits: dict[_Name, dict[str, Any]] = pydantic.Field(
        default_factory=dict, description="Layers with shared state: the pipelines that name one share it."
    )
    pipelines: dict[_Name, PipelineTable] = pydantic.Field(default_factory=dict)
    session: dict[str, Any] = pydantic.Field(default_factory=dict, description="Settings of a Session.")


_WORDS: Final = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "list_type": "must be a list of layers",
    "string_type": "must be a text",
    "bool_type": "must be a table, or false to leave the layer out",
    "value_error": "must be a table, or false to leave the layer out",
    "string_pattern_mismatch": "must be a name of letters, digits, `_`, `-` and `.`",
}


def checked(source: Source, problems: Problems) -> dict[str, Any]:
    """Return the data of *source* without what is wrong in its outer shape, which is noted."""
    data: dict[str, Any] = copy.deepcopy(source.data)
    data.pop("$schema", None)  # what editors look for in JSON
    try:
        Document.__pydantic_validator__.validate_python(data)
    except pydantic.ValidationError as error:
        wrong = {_path_of(each["loc"], data): each for each in error.errors(include_url=False)}
        for path, each in wrong.items():
            _note(path, each["type"], each["input"], problems)
        for path in wrong:
            _without(data, path)
    for section in ("limits", "pipelines", "session"):
        data.setdefault(section, {})
    for name, table in data["pipelines"].items():
        data["pipelines"][name] = {key: value for key, value in table.items() if value is not None}
    return data


def _path_of(loc: tuple[str | int, ...], data: Any) -> Path:
    """Return *loc* as far as it leads through *data*: pydantic adds the names of alternatives."""
    path: list[str | int] = []
    for part in loc:
        there = part in data if isinstance(data, dict) else isinstance(part, int) and isinstance(data, list)
        if not there:
            break
        data = data[part]
        path.append(part)
    return tuple(path)


def _note(path: Path, why: str, value: Any, problems: Problems) -> None:
    if why == "extra_forbidden":
        allowed = Document.model_fields if len(path) == 1 else PipelineTable.model_fields
        problems.add(path, f"nothing is called {str(path[-1])!r} here: {hint(path[-1], allowed)}")
    elif path == ("version",):
        problems.add(path, f"{quoted(value)} must be {VERSION}, the version of the schema that this package knows")
    else:
        problems.add(path, f"{quoted(value)} {_WORDS.get(why, 'is not allowed here')}")


def _without(data: Any, path: Path) -> None:
    """Remove what stands at *path*; in a list it leaves None, so that the others keep their places."""
    around: Any = data
    for part in path[:-1]:
        if around is None or (isinstance(around, dict) and part not in around):
            return
        around = around[part]
    if path and isinstance(around, dict):
        around.pop(path[-1], None)
    elif path and isinstance(around, list):
        place: Any = path[-1]
        around[place] = None
