"""Spans drawn as a tree in a terminal."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode

from sluiceway.telemetry.tree import draw, took

MS = 1_000_000


def span(number, name, start, end, parent=None, *, failed=False, events=(), **attributes):
    """Return a finished span from *start* to *end* ms."""
    said = {key.replace("__", "."): value for key, value in attributes.items()}
    return ReadableSpan(
        name,
        SpanContext(1, number, is_remote=False),
        None if parent is None else SpanContext(1, parent, is_remote=False),
        attributes=said,
        events=events,
        start_time=start * MS,
        end_time=end * MS,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
    )


CALL = [
    span(
        3, "attempt 1", 200, 400, 1, failed=True, error__type="openai.RateLimitError", http__response__status_code=429
    ),
    span(1, "call ask", 0, 1000, sluiceway__call__id="ab-1", sluiceway__call__outcome="ok"),
    span(
        2,
        "rate limit wait",
        0,
        200,
        1,
        sluiceway__rate_limit__requested=1,
        sluiceway__rate_limit__remaining=0.01234,
        sluiceway__rate_limit__limit=1200.0,
        sluiceway__rate_limit__unit="requests",
    ),
    span(4, "attempt 2", 500, 1000, 1, gen_ai__usage__output_tokens=7, gen_ai__request__model="m", server__port=1),
]
DRAWN = """\
call ask                1 s  ██████████████  outcome=ok
├─ rate limit wait   200 ms  ███             requested=1 remaining=0.0123 limit=1,200 requests
├─ attempt 1         200 ms    ███           status=429 error=openai.RateLimitError
└─ attempt 2         500 ms         ███████  output=7 model=m"""


def test_a_call_reads_from_top_to_bottom():
    """Children stand under their parent in the order of their starts, with length, bar and short attributes."""
    assert DRAWN.splitlines() == draw(CALL).splitlines()


def test_depth_is_drawn_with_branches():
    """A span inside a child hangs below it, whatever the order in which the spans come."""
    spans = [span(3, "c", 2, 3, 2), span(4, "d", 5, 6, 1), span(1, "a", 0, 9), span(2, "b", 1, 4, 1)]
    names = [line[:7].rstrip() for line in draw(spans).splitlines()]
    assert ["a", "├─ b", "│  └─ c", "└─ d"] == names


def test_what_happened_at_one_moment_stands_among_the_children():
    """A pause of the limit is a line without a length; an exception is told by `error.type` alone."""
    events = (Event("limit paused", {"sluiceway.rate_limit.pause": 0.5}, 3 * MS), Event("exception", {}, 4 * MS))
    lines = draw([span(1, "call ask", 0, 10, events=events), span(2, "attempt 1", 5, 10, 1)]).splitlines()
    assert ["└─ attempt 1", "├─ · limit paused"] == [lines[2].split("  ")[0], lines[1].split("  ")[0]]
    assert "pause=0.5" in lines[1]
    assert 3 == len(lines)


def test_what_does_not_fit_is_left_out_whole():
    """No line is longer than the width, no attribute is cut in two; an ellipsis tells that there are more."""
    said = {f"sluiceway__{letter * 9}": 1 for letter in "abcdefgh"}
    (line,) = draw([span(1, "call ask", 0, 1, **said)], width=70).splitlines()
    assert len(line) <= 70
    assert line.endswith("aaaaaaaaa=1 bbbbbbbbb=1 ccccccccc=1 …")


def test_spans_without_their_parent_are_roots():
    """Two calls, or a call whose parent is elsewhere, each get a time line of their own."""
    lines = draw([span(1, "call one", 0, 10, 99), span(2, "call two", 5, 10)]).splitlines()
    assert ["call one", "call two"] == [line.split("  ")[0] for line in lines]
    assert all("█" * 14 in line for line in lines)


def test_nothing_is_drawn_of_nothing():
    """No spans, no lines."""
    assert "" == draw([])


def test_parts_are_coloured_by_what_they_stand_for():
    """The style is asked for names and bars with their kind."""
    seen = set()

    def style(text, kind):
        seen.add((text.strip(), kind))
        return text

    draw(CALL, style=style)
    assert {
        ("attempt 1", "failed"),
        ("attempt 2", "attempt"),
        ("rate limit wait", "wait"),
        ("call ask", "call"),
    } <= seen


def test_a_line_must_have_room():
    """A width in which nothing could be read is refused."""
    with pytest.raises(ValueError, match="width=20 must be at least 60"):
        draw(CALL, width=20)


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0 us"),
        (1_234, "1.23 us"),
        (999_499, "999 us"),
        (999_500, "1 ms"),
        (12_345_678, "12.3 ms"),
        (999_500_000, "1 s"),
        (61_200_000_000, "61.2 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_lengths_are_shown_in_the_unit_that_suits_them(nanoseconds, shown):
    """Three digits, in us, ms or s."""
    assert shown == took(nanoseconds)
