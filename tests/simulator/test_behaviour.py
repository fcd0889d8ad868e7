"""What can be set about the simulated provider, and what is refused."""

import json
from dataclasses import fields

import pytest

from sluiceway.algorithms.provider_meters import Limit
from sluiceway.simulator.behaviour import Behaviour, Settings
from sluiceway.simulator.distributions import Fixed, Uniform


def test_settings_and_behaviour_have_the_same_names():
    """Every setting that may be passed is a field, and the other way round."""
    assert list(Settings.__annotations__) == [field.name for field in fields(Behaviour)]


def test_reads_settings_as_people_write_them():
    """Durations, spreads and rates are kept in seconds, distributions and floats."""
    behaviour = Behaviour.of(burst="1s", latency="50ms..200ms", answer_tokens=20, hang_rate=True, errors={"503": 1})
    kept = (behaviour.burst, behaviour.latency, behaviour.answer_tokens, behaviour.hang_rate, behaviour.errors)
    assert (1.0, Uniform(0.05, 0.2), Fixed(20), 1.0, {503: 1.0}) == kept


def test_travels_as_json():
    """A behaviour that went through JSON equals the one that was sent."""
    sent = Behaviour.of(
        rpm=6000, window="1s", latency="lognormal(200ms, 0.5)", errors={500: 0.1}, outages=[(1, "2s")], seed=7
    )
    assert sent == Behaviour.of(**json.loads(json.dumps(sent.to_dict())))


def test_but_changes_only_what_is_named():
    """`but` keeps every other setting."""
    before = Behaviour.of(rpm=60, outage=True)
    assert Behaviour.of(rpm=60, outage=False) == before.but(outage=False)


def test_limits_follow_the_settings():
    """Requests and tokens may be metered differently; unnamed token settings follow the requests'."""
    behaviour = Behaviour.of(rpm=6000, tpm=30_000, output_tpm=600, burst="1s")
    assert behaviour.limits() == {
        "requests": Limit(6000, "bucket", 1.0, 1.0),
        "tokens": Limit(30_000, "bucket", 1.0, 1.0),
        "output_tokens": Limit(600, "bucket", 1.0, 1.0),
    }
    behaviour = Behaviour.of(rpm=6000, input_tpm=600, burst="1s", token_metering="rolling")
    assert behaviour.limits() == {
        "requests": Limit(6000, "bucket", 1.0, 1.0),
        "input_tokens": Limit(600, "rolling", 60.0),
    }


def test_outages_by_schedule_and_by_hand():
    """An outage lasts from its start until just before its end, or while it is switched on."""
    behaviour = Behaviour.of(outages=[(1, 2), (5, 6)])
    assert [elapsed for elapsed in (0, 1, 1.5, 2, 5, 6) if behaviour.is_out(elapsed)] == [1, 1.5, 5]
    assert Behaviour.of(outage=True).is_out(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rpm": 0}, "rpm=0"),
        ({"tpm": -1}, "tpm=-1"),
        ({"rpm": 60, "metering": "leaky"}, "metering='leaky'"),
        ({"rpm": 30, "metering": "rolling", "window": 1}, "rpm=30"),
        ({"rpm": 60, "metering": "rolling", "burst": 1}, "only a window"),
        ({"window": "soon"}, "window='soon'"),
        ({"reserve": "min"}, "reserve='min'"),
        ({"max_in_flight": 0}, "max_in_flight=0"),
        ({"in_flight_status": 500}, "429, 503"),
        ({"latency": "fast"}, "latency='fast'"),
        ({"errors": {200: 0.5}}, "from 400 to 599"),
        ({"errors": {500: 0.6, 503: 0.6}}, "add up"),
        ({"reset_rate": 2}, "reset_rate=2"),
        ({"outages": [(5, 5)]}, "after the start"),
        ({"outage_as": 200}, "outage_as=200"),
        ({"outage_as": "fire"}, "outage_as='fire' must be a status from 400 to 599, or 'reset' or 'hang'"),
        ({"tokens_per_character": 0}, "tokens_per_character=0"),
        ({"header_style": "mine"}, "header_style='mine'"),
        ({"retry_after_form": "soon"}, "retry_after_form='soon'"),
    ],
)
def test_refuses_values_at_construction(settings, message):
    """A wrong value is a ValueError that names it."""
    with pytest.raises(ValueError, match=message):
        Behaviour.of(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rmp": 60}, "'rmp' is no setting.*rpm"),
        ({"rpm": "60"}, "rpm='60'"),
        ({"outage": 1}, "outage=1"),
        ({"hang_rate": "often"}, "hang_rate='often'"),
        ({"errors": 0.1}, "errors=0.1"),
        ({"outages": [3]}, "pairs"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"answer": 5}, "answer=5"),
        ({"retry_after": True}, "retry_after=True"),
        ({"max_in_flight": True}, "max_in_flight=True"),
    ],
)
def test_refuses_types_at_construction(settings, message):
    """A wrong type or an unknown name is a TypeError that names it."""
    with pytest.raises(TypeError, match=message):
        Behaviour.of(**settings)
