"""Files that are broken in any way: a `ConfigError` that names the place, or pipelines, and nothing else."""

from __future__ import annotations

import copy
import json
import warnings
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config_files import DATA, TEXTS
from sluiceway import ConfigError
from sluiceway.config import Config, load

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [
            *("", "bounded", "timed", "chat", "nightly", "spread", "limits.openai", "limits.", "tenant", "os:system"),
            *("presets.batch", "presets.openai_tier(9)", "env:", "env:NOT_THERE", "10s", "-1s", "p95", "learn"),
            *("TimeoutError", "KeyboardInterrupt", "1e999"),
        ]
    ),
    st.text(max_size=8),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(["use", "ref", "id", "limit", "layers", "extends"]), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
OF_THE_FILE = ("it is ", "it must be ", "tables inside tables")
QUICK = settings(max_examples=150, deadline=timedelta(seconds=5))


def places(data, path=()):
    """Return the ways to all values in *data*."""
    found = [path] if path else []
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in children:
        found += places(value, (*path, key))
    return found


def mutated(draw):
    """Return the data of the file, changed in some places."""
    data = copy.deepcopy(DATA)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(data)))
        around = data
        for part in path[:-1]:
            around = around[part]
        change = draw(st.sampled_from(["replace", "remove", "rename", "copy"]))
        if change == "remove":
            del around[path[-1]]
        elif change == "rename" and isinstance(around, dict):
            around[draw(st.one_of(st.text(max_size=4), st.sampled_from(["use", "ref", "replace", "extends"])))] = (
                around.pop(path[-1])
            )
        elif change == "copy":
            source = draw(st.sampled_from(places(DATA)))
            value = DATA
            for part in source:
                value = value[part]
            around[path[-1]] = copy.deepcopy(value)
        else:
            around[path[-1]] = draw(VALUES)
        if not data:
            break
    return data


MUTATED = st.composite(mutated)()


def only_config_errors(*args, name, **kwargs):
    """Load, and look at the error if there is one."""
    found = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load(*args, environ={}, **kwargs)
    except ConfigError as error:
        found = error
    if isinstance(found, Config):
        return
    assert found.problems
    for problem in found.problems:
        assert str(problem).startswith(name)
        assert problem.message
        assert problem.path or problem.line or problem.message.startswith(OF_THE_FILE)


@given(MUTATED)
@QUICK
def test_tables_of_any_content_make_pipelines_or_a_config_error(data):
    """Whatever stands in the tables, the error names the file and the path of each problem."""
    only_config_errors(data, name="<mapping>")


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
@given(data=st.data())
@QUICK
def test_texts_with_letters_changed_make_pipelines_or_a_config_error(form, data):
    """Whatever is typed, deleted or cut off, in any format."""
    text = TEXTS[form]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 12))
        new = data.draw(
            st.one_of(
                st.text(max_size=4),
                st.sampled_from(["{", "}", "[", "]", '"', "\n", "&a", "*a", "<<: ", "!!", "#", "'''"]),
            )
        )
        text = text[:at] + new + text[end:]
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))]
    only_config_errors(text=text, format=form, name="<text>")


@given(st.text(max_size=60), st.sampled_from(["toml", "yaml", "json"]))
@QUICK
def test_any_text_at_all_is_pipelines_or_a_config_error(text, form):
    """Also what never was a file of pipelines."""
    only_config_errors(text=text, format=form, name="<text>")


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_what_is_too_deep_too_many_or_too_large_is_refused(form):
    """A file is no way to make a program hang."""
    deep = "[" * 100_000 + "]" * 100_000
    only_config_errors(text=f"a = {deep}" if form == "toml" else deep, format=form, name="<text>")
    only_config_errors(text="x" * 1_000_000, format=form, name="<text>")
    many = {"limits": {f"l{i}": {"use": "bounded", "limit": 1} for i in range(30_000)}}
    if form == "json":
        only_config_errors(text=json.dumps(many), format=form, name="<text>")


def test_aliases_that_stand_for_one_another_are_refused():
    """Nine lines of YAML can mean a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="too deep or too many"):
        load(text="\n".join(lines), format="yaml")
    with pytest.raises(ConfigError, match="too deep or too many"):
        load(text="a: &a [*a]", format="yaml")
