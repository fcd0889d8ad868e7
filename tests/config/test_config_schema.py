"""The JSON Schema that editors complete and check by."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

import sluiceway.config
from config_files import DATA, SMALL, TEXTS
from sluiceway import layers
from sluiceway.config.schema import json_schema, text

OURS = {name: getattr(layers, name) for name in layers.__all__}
CHECK = jsonschema.Draft202012Validator(json_schema(OURS))


def test_the_published_schema_is_that_of_the_layers_as_they_are():
    """After a change of a layer: ``sluiceway schema > src/sluiceway/config/schema.json``."""
    published = Path(sluiceway.config.__file__).parent / "schema.json"
    assert text(OURS) == published.read_text(encoding="utf-8")


def test_it_is_a_valid_schema_in_which_every_reference_leads_somewhere():
    """By the rules of its own draft."""
    schema = json_schema(OURS)
    jsonschema.Draft202012Validator.check_schema(schema)
    for reference in references(schema):
        found = schema
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def references(schema):
    """Yield all references in *schema*."""
    for name, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if name == "$ref":
            yield value
        elif isinstance(value, (dict, list)):
            yield from references(value)


def test_a_file_that_loads_is_valid():
    """The one with everything in it, and with references to the environment."""
    assert [] == list(CHECK.iter_errors(DATA))
    limit = {"use": "rate_limited", "rpm": "env:RPM", "store": {"use": "redis", "url": "env:URL"}}
    assert [] == list(CHECK.iter_errors({"$schema": "x.json", "version": 1, "limits": {"l": limit}}))
    bare = {"use": "bounded", "limit": 3, "queue": "fair", "store": "ours"}
    assert [] == list(CHECK.iter_errors({"limits": {"l": bare}}))
    preset = {"use": "presets.openai_tier(3)", "burst": "1s"}
    assert [] == list(CHECK.iter_errors({"limits": {"l": preset}, "pipelines": {"c": {"extends": "presets.batch"}}}))


@pytest.mark.parametrize(
    "layer",
    [
        {"use": "bonded", "limit": 3},
        {"use": "bounded"},
        {"use": "bounded", "limit": "many"},
        {"use": "bounded", "limit": 3, "max_wait": "3 parsecs"},
        {"use": "bounded", "limit": 3, "limt": 4},
        {"use": "bounded", "limit": 3, "queue": {"use": "priority", "agin": 3}},
        {"use": "retry_jitter", "jitter": "ful"},
        {"ref": "openai"},
        {"ref": "limits.openai", "limit": 4},
        {"limit": 3},
    ],
)
def test_what_does_not_load_for_its_shape_is_invalid(layer):
    """Names, kinds and what is missing; an editor shows it while it is typed."""
    file = {"limits": {"openai": {"use": "bounded", "limit": 3}}, "pipelines": {"chat": {"layers": [layer]}}}
    assert list(CHECK.iter_errors(file))
    with pytest.raises(sluiceway.ConfigError):
        sluiceway.config.load(file)


def test_every_setting_of_every_layer_stands_in_it_with_what_its_docstring_says():
    """No second vocabulary: the names are those of the code."""
    defs = json_schema(OURS)["$defs"]
    for name, cls in OURS.items():
        properties = defs[f"layer_{name}"]["properties"]
        assert set(properties) - {"use", "id"} == set(sluiceway.config.settings.settings_of(cls).named)
        assert all(each.get("description") for each in properties.values()), name


def test_lines_of_values_are_those_of_the_text():
    """In each format: every key and item of a list, found again on its line."""
    from sluiceway.config.sources import read

    for form, content in {**TEXTS, "small": SMALL}.items():
        source = read(None, content, "toml" if form == "small" else form)
        rows = content.splitlines()
        for path, line in source.lines.items():
            if path and isinstance(path[-1], str):
                assert path[-1] in rows[line - 1]
        keys = [path for path in paths(source.data) if isinstance(path[-1], str)]
        assert set(keys) <= set(source.lines)


def paths(data, path=()):
    """Yield the path of every value in *data*."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from paths(value, (*path, key))
