"""`str(stats)`: a table that people like to read."""

from __future__ import annotations

from sluiceway.telemetry.sketch import Latency
from sluiceway.telemetry.stats import Figures, Stats, Tokens, Waits

NIGHTLY = Stats(
    name="nightly",
    elapsed=15.21,
    calls=1500,
    succeeded=1492,
    failed=1,
    timed_out=3,
    cancelled=2,
    in_flight=2,
    attempts=1561,
    retries=61,
    tokens=Tokens(input=120_000, output=62_340, cached=40_000, reasoning=1_200),
    cost=0.12341,
    unpriced=12,
    unmetered=3,
    possibly_billed=4,
    cache_hits=30,
    coalesced=10,
    hedges=14,
    wasted_attempts=12,
    wasted=Tokens(1_500, 600),
    latency=Latency(1496, 1.21, 1.1, 2.3, 3.4, 61.2),
    first_item=Latency(1496, 0.31, 0.301, 0.5, 0.8123, 2.0),
    throughput=98.1,
    recent_throughput=99.3,
    error_rate=4 / 1498,
    waits={"backoff": Waits(61, 67.0, 4.0), "rate_limited": Waits(812, 414.0, 2.5)},
    errors={"TimedOut (total)": 3, "InternalServerError 503": 1},
    attempt_errors={"RateLimitError 429 rate_limit_exceeded": 60, "InternalServerError 503": 5},
    refusals={},
    by_model={
        "gpt-4o-mini": Figures(
            calls=1400,
            succeeded=1399,
            failed=1,
            attempts=1450,
            cost=0.12341,
            latency=Latency(1400, 1.2, 1.1, 2.2, 3, 4),
        ),
        "my-own": Figures(calls=12, succeeded=12, attempts=12, cost=None, unpriced=12, tokens=Tokens(9, 1)),
    },
    by_tenant={f"tenant {number}": Figures(calls=20 - number, succeeded=20 - number) for number in range(14)},
)

TABLE = """\
session nightly   15.2 s   98.1 answers/s   99.3/s in the last 10 s   0.3 % errors in the last minute

calls                       1,500
  succeeded                 1,492     99.6 %
  failed                        1    < 0.1 %
  timed out                     3      0.2 %
  cancelled                     2      0.1 %
  in flight                     2

attempts                    1,561   61 retries, 14 hedges, 12 in vain
calls without one              40   30 from a cache, 10 coalesced
tokens                    182,340   3 answers did not say
  input                   120,000   40,000 cached
  output                   62,340   1,200 reasoning
  in vain                   2,100   of attempts that another one beat
cost                     $0.1234+   12 answers of unknown price left out; 4 failed attempts may be billed

                             mean        p50        p95        p99        max
latency                    1.21 s      1.1 s      2.3 s      3.4 s     61.2 s
first item                 310 ms     301 ms     500 ms     812 ms        2 s

waited for                  times       mean    longest   together
rate_limited                  812     510 ms      2.5 s      414 s
backoff                        61      1.1 s        4 s       67 s

calls ended with
TimedOut (total)                3
InternalServerError 503         1

attempts failed with
RateLimitError 429 rate_limi…  60
InternalServerError 503         5

model                       calls    success   attempts     tokens       cost        p50        p95
gpt-4o-mini                 1,400   > 99.9 %      1,450          0    $0.1234      1.1 s      2.2 s
my-own                         12    100.0 %         12         10    unknown          -          -
(unknown)                      86     96.4 %         99    182,330    $0.0000          -          -

tenant                      calls    success   attempts     tokens       cost        p50        p95
tenant 0                       20    100.0 %          0          0    $0.0000          -          -
"""


def test_the_table_reads_as_specified():
    """All sections in columns, shares that hide neither the first failure nor the last success, long lists cut."""
    table = str(NIGHTLY)
    assert TABLE.splitlines() == table.splitlines()[: len(TABLE.splitlines())]
    assert "... and 3 more" == table.splitlines()[-2]
    assert table.splitlines()[-1].startswith("(none)                      1,309     99.7 %")


def test_no_line_ends_in_blanks():
    """The table can be pasted anywhere."""
    assert all(line == line.rstrip() for line in str(NIGHTLY).splitlines())


def test_what_there_is_nothing_to_say_about_is_left_out():
    """An empty session has neither latencies nor waits nor errors in its table."""
    lines = str(Stats(name="empty")).splitlines()
    assert ["session empty   0 ms   0 answers/s", "", "calls", "  succeeded", "", "attempts"] == [
        line.rstrip(" 0") if index else line for index, line in enumerate(lines)
    ]


def test_long_times_are_minutes_and_hours():
    """A session of a day is not shown in seconds."""
    assert "session   10 min" in str(Stats(elapsed=600.0))
    assert "session   24.0 h" in str(Stats(elapsed=86_400.0))


def test_calls_of_no_model_and_no_tenant_have_a_row_so_that_columns_add_up():
    """Calls that were refused, or answered from a cache, made no attempt that would tell their model."""
    stats = Stats(
        calls=12,
        in_flight=2,
        succeeded=7,
        rejected=3,
        cache_hits=4,
        attempts=3,
        by_model={"gpt-4o": Figures(calls=3, succeeded=3, attempts=3)},
    )
    rows = {line.split()[0]: line.split()[1:4] for line in str(stats).splitlines() if line}
    assert ["7", "57.1", "%"] == rows["(unknown)"]
    assert "(none)" not in rows
    assert "calls without one               4   4 from a cache" in str(stats)


def test_the_row_of_nobody_stays_when_a_list_is_cut():
    """It is no name among many: without it the others would not add up."""
    tenants = {f"t{number}": Figures(calls=1, succeeded=1) for number in range(20)}
    assert "(none)                          5    100.0 %" in str(Stats(calls=25, succeeded=25, by_tenant=tenants))
    assert "(none)" not in str(Stats(calls=20, succeeded=20, by_tenant=tenants))
    assert "(unknown)" not in str(Stats(calls=20, rejected=20))


def test_a_rest_of_unknown_price_is_no_rest_of_no_cost():
    """What is left of answers without a price is "unknown"; what adding floats leaves over is nothing."""
    known = {"gpt-4o": Figures(calls=1, succeeded=1, cost=0.3)}
    priced = Stats(calls=2, succeeded=2, cost=0.1 + 0.2, by_model=known)
    unpriced = Stats(calls=2, succeeded=2, cost=0.3, unpriced=1, by_model=known)
    assert ["$0.0000", "unknown"] == [str(stats).splitlines()[-1].split()[-3] for stats in (priced, unpriced)]


def test_names_of_any_kind_leave_the_table_a_table():
    """A caller may name a model or tenant as it likes: its line stays one, and every terminal can be sent it."""
    names = ("two\nlines", "\x1b[31mred", "half a pair \ud800", "Wörter 模型")
    stats = Stats(name="a\nb", calls=4, by_tenant={name: Figures(calls=1, succeeded=1) for name in names})
    text = str(stats)
    text.encode()
    assert "\x1b" not in text
    rows = [line.split("  ")[0] for line in text.splitlines()[-4:]]
    assert rows == ["two\\nlines", "\\x1b[31mred", "half a pair \\ud800", "Wörter 模型"]
