"""Planning a batch: what is asked, what is allowed, and what follows from both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import Pipeline, adaptive_bound, adaptive_rate, bounded, budgeted, rate_limited, retry_jitter
from sluiceway.batch.plan import (
    Answers,
    Asking,
    Demand,
    Demands,
    Limit,
    Limits,
    demands_of,
    forecast,
    limits_of,
    plan,
    requests_in,
)
from sluiceway.batch.plan.charges import Charges
from sluiceway.batch.plan.text import dollars, lines_of
from sluiceway.batch.rows import ResultRow
from sluiceway.batch.sources import open_source
from sluiceway.batch.templates import Template
from sluiceway.providers.charging import OPENAI
from sluiceway.providers.estimates import Estimate
from sluiceway.providers.usage import Usage
from sluiceway.testing import run


def price(model, usage):
    """Return a dollar for a thousand tokens in, two for a thousand out; nobody knows the model `unknown`."""
    return None if model == "unknown" else (usage.input_tokens + 2 * usage.output_tokens) / 1000


def demand(requests=1000, read=100_000, written=50_000.0, model="m", **more):
    """Return what so many requests of one model take."""
    fields = {"output_low": written / 2, "output_high": written * 2, "charged": read + written, "size": 1000} | more
    return Demand(model, requests, read, written, **fields)


def demands(*each):
    """Return what a source takes, every prompt counted exactly."""
    return Demands(each or (demand(),), {}, counted=True)


def added_up(rows, answers=None, limit=None, **asking):
    """Return what *rows* take, counted by characters."""
    requests = requests_in(open_source(rows), Asking(**asking), None, limit)
    return run(demands_of(requests, answers or Answers(), Charges(), counted=False))


# ------------------------------------------------------------------ what is asked


def test_rows_are_added_up_by_model():
    """Prompts are estimated, answers assumed, by the limit that the request sets or without one."""
    rows = [
        {"prompt": "x" * 40},
        {"body": {"model": "big", "messages": [{"role": "user", "content": "y" * 80}]}, "url": "/v1/chat/completions"},
    ]
    found = added_up(rows * 3, model="small", parameters={"max_tokens": 100})
    assert {"small": 3, "big": 3} == {each.model: each.requests for each in found.by_model}
    assert [3 * 17, 3 * 27] == [each.input_tokens for each in found.by_model]
    assert [(30.0, 150.0, 300.0)] * 2 == [(e.output_low, e.output_tokens, e.output_high) for e in found.by_model]
    assert added_up(["hello"], model="m").output_tokens == 500


def test_bad_rows_are_counted_by_what_is_wrong_and_take_nothing():
    """No prompt, no model, no column for the template."""
    assert {"missing column": 2} == added_up([{"x": 1}, {}], model="m").bad
    assert {"no model": 1} == added_up(["hello"]).bad
    template = Template("Sum up {text}")
    found = added_up([{"text": "a"}, {"other": "b"}], model="m", template=template)
    assert (1, {"missing column": 1}) == (found.requests, found.bad)


def test_only_the_first_rows_are_read_if_asked():
    """A million rows need not be read to the end."""
    assert 2 == added_up(["a", "b", "c"], model="m", limit=2).requests


def test_the_error_of_the_estimate_follows_from_how_it_was_counted():
    """Exact, by another vocabulary, or by characters."""
    assert (0.99, 1.01) == demands().input_error
    assert (0.8, 1.25) == demands(demand(exact=False)).input_error
    low, high = Demands((demand(exact=False),), {}, counted=False).input_error
    assert low < 0.85
    assert high > 1.8


def test_results_of_the_batch_api_tell_nothing_of_how_long_a_call_takes():
    """Their hours were all waiting, and what was left a millisecond: a plan of minutes instead of a day."""
    through = [ResultRow(n, n, "x", Usage(1, 100), latency_s=3600.0, waited_s={"batch api": 3600.0}) for n in range(50)]
    called = [ResultRow(n, n, "x", Usage(1, 100), latency_s=2.0) for n in range(50)]
    assert (100.0, Answers().mean_latency) == (Answers.measured(through).usual, Answers.measured(through).mean_latency)
    assert 2.0 == pytest.approx(Answers.measured([*through, *called]).mean_latency)
    assert 7.0 == Answers.measured(through, "7s").mean_latency


def test_answers_are_told_or_measured():
    """A number, a range, or rows that were answered: their mean with its interval, waiting left aside."""
    assert (100.0, 200.0, 400.0) == Answers.told("200", None).of(None)
    assert (50.0, 225.0, 400.0) == Answers.told("50..400", None).of(None)
    assert (50.0, 60, 60) == Answers.told("50..400", None).of(60)
    rows = [ResultRow(n, n, "", Usage(5, 90 + n % 3 * 10), latency_s=3.0, waited_s={"bounded": 1.0}) for n in range(90)]
    measured = Answers.measured(rows)
    low, usual, high = measured.of(None)
    assert (100.0, 2.0) == (usual, pytest.approx(measured.mean_latency))
    assert 98 < low < 100 < high < 102
    assert "measured on 90 answers" == measured.source
    with pytest.raises(ValueError, match="at least 10"):
        Answers.measured(rows[:9])
    with pytest.raises(ValueError, match="output_tokens"):
        Answers.told("many", None)


def test_what_is_charged_follows_the_limiters_policy():
    """Usage, or no less than was reserved, or what was reserved."""
    guess = Estimate(100, 400, exact=True)
    assert 150 == Charges().of(guess, 50)
    assert 400 == Charges(OPENAI).of(guess, 50)
    assert 500 == Charges(keeps=True).of(guess, 50)


# ------------------------------------------------------------------ what is allowed


def test_limits_are_read_off_the_layers():
    """Rates with their burst, places of a bound or of the limiter; what cannot be planned with is named."""
    pipeline = Pipeline(retry_jitter(5), bounded(50), rate_limited(rpm=600, tpm=60_000, burst="2s", in_flight=40))
    limits = limits_of(pipeline)
    assert (Limit("rpm", "requests", 10.0, 20.0), Limit("tpm", "tokens", 1000.0, 2000.0)) == limits.rates
    assert (40, ()) == (limits.in_flight, limits.notes)
    other = limits_of(Pipeline(budgeted(usd=5), adaptive_rate(10), rate_limited(rps=5, by=lambda call: 1)))
    assert 3 == len(other.notes)
    assert [5.0] == [limit.rate for limit in other.rates]


# ------------------------------------------------------------------ what follows


def test_a_bound_that_finds_its_limit_is_a_note_and_no_number():
    """What adaptive_bound lets in is not known beforehand; places of others beside it still count."""
    found = limits_of(Pipeline(bounded(7), adaptive_bound(5)))
    assert (7, None) == (found.in_flight, limits_of(Pipeline(adaptive_bound(5))).in_flight)
    assert ["adaptive_bound finds its limit while it runs: none is known beforehand"] == list(found.notes)


def test_the_slowest_limit_binds():
    """Each limit alone makes the batch last so long; the slowest is what it takes, and one answer's time."""
    limits = Limits((Limit("rpm", "requests", 10.0, 9.0), Limit("tpm", "tokens", 1000.0, 900.0)), in_flight=10)
    answers = Answers.told("50", "2s")
    found = forecast(demands(), answers, limits, price)
    assert {"rpm": 99.1, "tpm": 149.1, "concurrency": 198.0} == {each.name: each.seconds for each in found.constraints}
    assert ("concurrency", 200.0) == (found.binding.name, found.shortest)


def test_without_limits_nothing_binds():
    """It takes an answer's time."""
    found = forecast(demands(), Answers.told(None, "2s"), Limits(), price)
    assert (None, 2.0) == (found.binding, found.shortest)


@given(st.integers(1, 10**6), st.floats(0.1, 1e4), st.floats(0, 1e4))
def test_no_limit_is_beaten(requests, rate, burst):
    """In the time that is forecast the limit lets all requests through, and in a tenth less it does not."""
    limits = Limits((Limit("rpm", "requests", rate, burst),))
    found = forecast(demands(demand(requests)), Answers.told(None, 0), limits, price)
    assert burst + rate * found.shortest >= requests * (1 - 1e-9)
    if requests > burst:
        assert burst + rate * found.shortest * 0.9 < requests


def test_costs_have_a_range_and_half_of_it_over_the_batch_api():
    """From the fewest tokens to the most; a model to compare is asked with the same tokens, and may be unknown."""
    found = forecast(demands(), Answers(), Limits(), price, ("other", "unknown"))
    asked, other, unknown = found.costs
    assert (200.0, 100.0) == (asked.usual, asked.batch_api)
    assert asked.low == pytest.approx(1000 * (99 + 2 * 25) / 1000)
    assert asked.high == pytest.approx(1000 * (101 + 2 * 100) / 1000)
    assert (200.0, False) == (other.usual, other.asked)
    assert (None, None, None) == (unknown.low, unknown.usual, unknown.batch_api)


def test_batches_of_the_batch_api_are_counted_by_model_requests_and_bytes():
    """50,000 requests or 200 MB each, and one model."""
    found = forecast(demands(demand(120_000), demand(10, size=500_000_000, model="n")), Answers(), Limits(), price)
    assert 3 + 3 == found.parts


def test_the_plan_is_told_in_lines():
    """Rows, tokens with their error, time with what binds, cost with its range."""
    limits = Limits((Limit("tpm", "tokens", 1000.0, 900.0),), notes=("a note",))
    answers = Answers.told("50", "2s")
    text = "\n".join(lines_of(demands(), answers, limits, forecast(demands(), answers, limits, price)))
    assert "1,000 to ask" in text
    assert "100,000 (by the models' vocabulary: within 1 %)" in text
    assert "about 2 min 31 s at the shortest, by tpm" in text
    assert "$200.00 (from $149.00 to $301.00)" in text
    assert "$100.00, half the price; 1 batch, each within 24 h" in text
    assert text.endswith("note              a note")


def test_an_empty_source_is_no_error():
    """There is nothing to ask, and nothing to pay."""
    nothing = Demands((), {"not JSON": 2}, counted=True)
    found = forecast(nothing, Answers(), Limits((Limit("rpm", "requests", 1.0, 1.0),)), price, ("m",))
    text = "\n".join(lines_of(nothing, Answers(), Limits(), found))
    assert "0 to ask; 2 bad (not JSON: 2)" in text


def test_money_is_written_as_people_say_it():
    """With as many digits as tell something."""
    assert ["$0.00", "$0.0012", "$1,234.50", "unknown"] == list(map(dollars, (0, 0.00123, 1234.5, None)))


@pytest.mark.parametrize(("id_column", "requests"), [("id", 2), ("key", 3)])
def test_a_second_row_of_one_id_is_not_asked(tmp_path, id_column, requests):
    """As in the batch, whichever column is the id."""
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f'{{"id": {n % 2}, "key": {n}, "prompt": "x"}}\n' for n in range(3)))
    planned = plan("gpt-4o-mini", path, id_column=id_column, simulate=True)
    assert (requests, requests) == (planned.demands.requests, planned.rehearsal.answered)
    assert ({"duplicate id": 3 - requests} if requests < 3 else {}) == dict(planned.demands.bad)
