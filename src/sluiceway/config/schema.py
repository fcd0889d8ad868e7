"""The JSON Schema of a file of pipelines, for editors that complete and check: made from the layers' own settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.layers import registered
from sluiceway.layers.deployment import Deployment
from sluiceway.session import Session

from . import docstrings
from .document import Document, PipelineTable
from .kinds import QUEUE
from .objects import OBJECTS, class_of
from .presets import PRESETS
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pydantic

    from sluiceway.layer import Layer

ID: Final = "urn:sluiceway:pipelines:1"
_OPEN: Final = ("redis",)  # objects whose settings are told no further
_ENV: Final = {"type": "string", "pattern": "^env:", "description": "The name of an environment variable."}


class _Schema(GenerateJsonSchema):
    """Leaves out what an editor has no use for."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Titles would only say the names once more."""
        return False


def json_schema(layers: Mapping[str, type[Layer]] | None = None) -> dict[str, Any]:
    """Return the schema of files that use *layers*; None for ours and those of installed packages."""
    known = registered() if layers is None else layers
    items = {f"layer_{name}": _item(name, cls) for name, cls in known.items()}
    partial = {name: {"anyOf": [_changes(name, items[f"layer_{name}"]), {"const": False}]} for name in known}
    table = _of(PipelineTable)
    layers_of = {"type": "array", "items": {"$ref": "#/$defs/layer"}, "description": "Outermost first."}
    table["properties"]["layers"] = layers_of
    table["properties"]["extends"] = {"type": "string", "description": "Another pipeline, or presets.batch, ..."}
    table["properties"]["replace"] = {
        "type": "object",
        "description": "Other settings of its layers, by name or id; false leaves one out.",
        "properties": partial,
        "additionalProperties": {"type": ["object", "boolean"]},
    }
    session = _table(Session)
    session["properties"]["pipeline"] = {"type": "string", "description": "The name of a pipeline."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "sluiceway pipelines",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            "version": {"const": 1, "default": 1, "description": Document.model_fields["version"].description},
            "limits": {
                "type": "object",
                "description": Document.model_fields["limits"].description,
                "additionalProperties": {"$ref": "#/$defs/own_layer"},
            },
            "pipelines": {"type": "object", "additionalProperties": {"$ref": "#/$defs/pipeline"}},
            "session": session,
        },
        "$defs": {
            "pipeline": table,
            "layer": {"anyOf": [{"$ref": "#/$defs/reference"}, {"$ref": "#/$defs/own_layer"}]},
            "reference": _reference(),
            "own_layer": {"anyOf": [*({"$ref": f"#/$defs/{name}"} for name in items), _elsewhere()]},
            "object": _objects(OBJECTS),
            "queue": _objects(QUEUE.inner.bare, bare=True),
            "store": _objects(_OPEN),
            "budget": _table(RetryBudget),
            "Deployment": _table(Deployment),
            **items,
        },
    }


def text(layers: Mapping[str, type[Layer]] | None = None) -> str:
    """Return the schema as the text of a file."""
    return json.dumps(json_schema(layers), indent=2, ensure_ascii=False) + "\n"


def _of(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Schema)
    return {name: value for name, value in schema.items() if name != "title"}


def _table(cls: type) -> dict[str, Any]:
    """Return the schema of a table of the settings of *cls*."""
    schema = _of(settings_of(cls).model)
    for name, setting in schema.get("properties", {}).items():
        schema["properties"][name] = _from_environment(_resolved(setting))
    schema.setdefault("properties", {})
    return schema


def _resolved(schema: Any) -> Any:
    """Return *schema* with what stood for references in its place; pydantic would follow them itself."""
    if isinstance(schema, dict):
        if "x-def" in schema:
            return {"$ref": f"#/$defs/{schema['x-def']}"}
        return {name: _resolved(each) for name, each in schema.items() if name != "title"}
    return [_resolved(each) for each in schema] if isinstance(schema, list) else schema


def _from_environment(setting: dict[str, Any]) -> dict[str, Any]:
    """Return *setting*, which a variable may give, too, where it is a number."""
    about: dict[str, Any] = {name: setting.pop(name) for name in ("description", "default") if name in setting}
    forms = setting.get("anyOf", [setting])
    if any(form.get("type") in ("number", "integer", "boolean") for form in forms):
        return {"anyOf": [*forms, _ENV], **about}
    return {**setting, **about}


def _item(name: str, cls: type) -> dict[str, Any]:
    schema = _table(cls)
    schema["properties"] = {
        "use": {"const": name, "description": docstrings.summary(cls)},
        "id": {"type": "string", "minLength": 1, "description": "What it is called where its name stands twice."},
        **schema["properties"],
    }
    schema["required"] = ["use", *schema.get("required", ())]
    return schema


def _changes(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what `replace` says of the layer *name*, whose own is *item*."""
    settings = [each for each in item["properties"] if each not in ("use", "id")]
    properties: dict[str, Any] = {each: {"$ref": f"#/$defs/layer_{name}/properties/{each}"} for each in settings}
    return {"type": "object", "properties": {"use": {"type": "string"}, "ref": {"type": "string"}, **properties}}


def _reference() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A shared limit.",
        "properties": {"ref": {"type": "string", "pattern": r"^limits\."}, "id": {"type": "string", "minLength": 1}},
        "required": ["ref"],
        "additionalProperties": False,
    }


def _elsewhere() -> dict[str, Any]:
    """Return the schema of what is used by a name of the application's, a preset or `module:name`."""
    presets = "|".join(PRESETS)
    return {
        "type": "object",
        "properties": {"use": {"type": "string", "pattern": rf"^(presets\.({presets})\b.*|[\w.]+:\w+)$"}},
        "required": ["use"],
    }


def _objects(uses: Iterable[str], *, bare: bool = False) -> dict[str, Any]:
    """Return the schema of an object: a table that makes one of *uses*, or a name, which *bare* ones of them are."""
    names = [{"enum": list(uses)}] if bare else []
    return {"anyOf": [*names, *map(_object, uses), {"type": "string"}, _elsewhere()]}


def _object(use: str) -> dict[str, Any]:
    if use in _OPEN:
        properties: dict[str, Any] = {"use": {"const": use}, "url": {"type": "string"}}
        return {"type": "object", "properties": properties, "required": ["use", "url"]}
    schema = _table(class_of(use))
    schema["properties"] = {"use": {"const": use}, **schema["properties"]}
    schema["required"] = ["use", *schema.get("required", ())]
    return schema
