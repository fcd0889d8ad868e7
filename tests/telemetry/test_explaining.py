"""Where the time of a call went: each instant is counted once, and all of them add up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.telemetry.explaining import BETWEEN, Explanation, Step, from_dict, spent

WAITED = Explanation(
    "5f3a-1c",
    "ask",
    "error",
    "InternalServerError 503",
    1_790_000_000.0,
    4.0,
    None,
    (
        Step("rate limit wait", "wait", 0.0, 2.0, "12 waited before it"),
        Step("attempt 1", "attempt", 2.0, 0.5, "error, RateLimitError 429"),
        Step("limit paused", "moment", 2.5, 0.0, "1 s, retry-after"),
        Step("backoff", "backoff", 2.5, 1.0, "retry-after"),
        Step("attempt 2", "attempt", 3.5, 0.4),
    ),
)


def test_time_goes_to_steps_and_what_is_left_is_between():
    """The largest share first."""
    shares = {"rate limit wait": 2.0, "backoff": 1.0, "attempt 1": 0.5, "attempt 2": 0.4, BETWEEN: 0.1}
    assert pytest.approx(shares) == dict(WAITED.spent)
    assert list(shares) == list(WAITED.spent)


def test_of_two_attempts_at_once_the_time_is_that_of_the_later_one():
    """Until the hedge began the call waited for the first, from then on for either of them."""
    steps = (Step("attempt 1", "attempt", 0.0, 3.0), Step("attempt 2", "attempt", 2.0, 1.0))
    assert {"attempt 1": 2.0, "attempt 2": 1.0} == dict(spent(steps, 3.0))


def test_an_attempt_counts_before_a_wait_and_a_wait_before_a_phase_around_it():
    """A hedge that waits costs no time while the first attempt is under way; a phase is what nothing else is."""
    steps = (
        Step("chaos", "phase", 0.0, 4.0),
        Step("attempt 1", "attempt", 1.0, 2.0),
        Step("bounded wait", "wait", 0.5, 1.5),
    )
    assert {"attempt 1": 2.0, "chaos": 1.5, "bounded wait": 0.5} == dict(spent(steps, 4.0))


_TIMES = st.floats(-1, 10, allow_nan=False)
_STEPS = st.builds(
    Step,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["attempt", "wait", "backoff", "phase", "moment"]),
    _TIMES,
    st.floats(0, 10),
)


@given(st.lists(_STEPS, max_size=12), st.floats(0, 10))
def test_all_of_it_adds_up(steps, seconds):
    """However steps overlap, or reach beyond the call, their shares and what is between are the whole call."""
    found = spent(steps, seconds)
    assert pytest.approx(seconds) == sum(found.values())
    assert all(value >= 0 for value in found.values())


def test_it_reads_as_a_picture():
    """Steps with their starts, lengths and bars on one time line, moments marked, then the shares."""
    lines = str(WAITED).splitlines()
    assert lines[0].startswith("call ask 5f3a-1c   error (InternalServerError 503)   4 s   began ")
    assert [
        "  rate limit wait                  0 us      2 s  ████████████              12 waited before it",
        "  attempt 1                         2 s   500 ms              ███           error, RateLimitError 429",
        "  · limit paused                  2.5 s                                     1 s, retry-after",
        "  backoff                         2.5 s      1 s                 ██████     retry-after",
        "  attempt 2                       3.5 s   400 ms                       ██",
        "",
        "  the time went to",
        "  rate limit wait                   2 s     50 %",
        "  backoff                           1 s     25 %",
        "  attempt 1                      500 ms     12 %",
        "  attempt 2                      400 ms     10 %",
        "  between                        100 ms      3 %",
    ] == [line.replace("        ██", "        ██") for line in lines[1:]]


def test_it_survives_json():
    """What an endpoint sends is read as it was."""
    assert WAITED == from_dict(json.loads(json.dumps(WAITED.to_dict())))


def test_a_call_of_no_length_has_no_shares():
    """Refused at once, it spent nothing, and nothing is divided by that."""
    refused = Explanation("1", "ask", "rejected", "CircuitOpen", 0.0, 0.0, None, ())
    assert {} == dict(refused.spent)
    assert "call ask 1   rejected (CircuitOpen)   0 us" in str(refused)
