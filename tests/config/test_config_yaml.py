"""YAML as people mean it."""

from __future__ import annotations

import math

import pytest
import yaml

from sluiceway import ConfigError
from sluiceway.config import load
from sluiceway.config.yaml_files import read, write


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10", 10),
        ("010", 10),
        ("-08", -8),
        ("200_000", 200_000),
        ("0o10", 8),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("-.inf", -math.inf),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("0b11", "0b11"),
        ("2026-11-22", "2026-11-22"),
        ("on", "on"),
        ("true", True),
        ("~", None),
    ],
)
def test_a_value_is_what_yaml_1_2_says(written, meant):
    """YAML 1.1 has octal numbers with a 0 before them and such of base 60: a limit of 010 was 8, one of 1:30 was 90."""
    (found,) = read(f"[{written}]")[0]
    assert (type(meant), meant) == (type(found), found)


def test_a_time_of_base_60_is_refused_by_its_place():
    """Rather than taken for seconds."""
    text = "pipelines:\n  chat:\n    layers:\n      - use: timed\n        limit: 1:30\n"
    with pytest.raises(ConfigError, match=r"<text>:5: pipelines\.chat\.layers\[0\]\.limit: .*'1:30'"):
        load(text=text, format="yaml")


@pytest.mark.parametrize("text", ["010", "08", "1e3", "0o10", "1:30", "on", "true", "1_0", "2026-11-22", ".inf", "a"])
def test_a_text_that_looks_like_something_else_is_written_in_quotes(text):
    """For whichever version reads it."""
    assert {"a": text, text: [text]} == read(write({"a": text, text: [text]}))[0]
    assert {"a": text, text: [text]} == yaml.safe_load(write({"a": text, text: [text]}))
