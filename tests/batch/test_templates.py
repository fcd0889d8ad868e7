"""Prompts made of columns."""

from __future__ import annotations

import pytest

from sluiceway.batch.errors import BadRow
from sluiceway.batch.templates import Template


def test_columns_stand_where_their_names_stood():
    """Numbers as text, doubled braces as braces, other columns nowhere."""
    template = Template("{{json}} of {text} in {words} words")
    assert ("text", "words") == template.columns
    assert "{json} of a tale in 5 words" == template.fill({"text": "a tale", "words": 5, "more": 1})


def test_what_stands_in_a_column_is_no_template():
    """Braces of a row are text."""
    assert "say {text}" == Template("say {text}").fill({"text": "{text}"})


@pytest.mark.parametrize("row", [{}, {"text": None}, 5])
def test_a_row_without_the_column_is_a_bad_row(row):
    """It names the column, and not the row's text."""
    with pytest.raises(BadRow, match="'text'"):
        Template("{text}").fill(row)


@pytest.mark.parametrize("text", ["none", "{", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>5}"])
def test_only_plain_names_stand_in_braces(text):
    """A template never reaches into a value, and one without a column would ask everybody the same."""
    with pytest.raises(ValueError, match="template"):
        Template(text)


def test_a_template_is_text():
    """Anything else is refused."""
    with pytest.raises(TypeError, match="template=5"):
        Template(5)
