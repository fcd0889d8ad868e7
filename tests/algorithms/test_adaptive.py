"""What both laws of a limit that finds itself keep to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.cubic import Cubic

LAWS = pytest.mark.parametrize("law", [Cubic, Aimd])

steps = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.floats(0, 100), st.one_of(st.just(math.inf), st.floats(0, 1e6))),
        st.tuples(st.just("refused"), st.floats(-100, 0), st.floats(0, 1e6)),
        st.tuples(st.just("eased"), st.floats(-100, 0), st.floats(0.01, 1)),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("restore"), st.floats(0.001, 1e6), st.none()),
    ),
    max_size=60,
)


@LAWS
@given(
    st.floats(0.01, 1e4),
    st.floats(0.01, 1),
    st.floats(1, 100),
    st.floats(0.01, 0.99),
    st.floats(0.01, 10),
    st.booleans(),
    steps,
)
def test_it_keeps_its_bounds_and_moves_one_way_a_step(law, initial, low, high, decrease, increase, slow, history):
    """Whatever happens it stays between min and max; growing never lowers it, refusals and errors never raise it."""
    limit = law(
        initial,
        least=initial * low,
        most=initial * high,
        decrease=decrease,
        increase=increase,
        slow_start=slow,
    )
    for at, (step, a, b) in enumerate(history):
        before = limit.limit
        if step == "grow":
            limit.grow(a, b)
            assert limit.limit >= before
            assert limit.limit == before or limit.limit <= b
        elif step == "refused":
            limit.refused(at + a, at, b)
            assert limit.limit <= before
        elif step == "eased":
            limit.eased(at + a, at, b)
            assert limit.limit <= before
        elif step == "restart":
            limit.restart()
        else:
            limit.restore(a)
        assert initial * low <= limit.limit <= initial * high
        assert slow or not limit.slow


@LAWS
@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_one_episode_lowers_it_once(law, started):
    """However many calls that started before a decrease come back refused or failed, they cause no other."""
    limit = law(100, least=1)
    assert limit.refused(9, 10, 100)
    for at in started:
        assert not limit.refused(at, 11, 100)
        assert not limit.eased(at, 11, 0.9)
    assert 70.0 == pytest.approx(limit.limit)


@LAWS
def test_a_call_that_started_after_the_decrease_lowers_it_again(law):
    """What was sent at the lower limit and is refused all the same says that it is too high still."""
    limit = law(100, least=1)
    limit.refused(9, 10, 100)
    assert limit.refused(10.001, 10.1, 70)
    assert 49.0 == pytest.approx(limit.limit)


@LAWS
def test_it_falls_from_what_was_in_use(law):
    """A limit of 100 of which 40 were used when the provider refused is 28 afterwards; more than it is never in use."""
    for used, left in ((40, 28.0), (400, 70.0)):
        limit = law(100, least=1)
        limit.refused(0, 1, used)
        assert left == pytest.approx(limit.limit)


@LAWS
def test_slow_start_doubles_each_unit_until_the_first_decrease(law):
    """10, 20, 40; after a refusal it no longer doubles."""
    limit = law(10, least=1)
    for expected in (20, 40):
        limit.grow(1.0)
        assert expected == pytest.approx(limit.limit)
    limit.refused(0, 1, 40)
    limit.grow(1.0)
    assert limit.limit < 40
    assert not limit.slow


@LAWS
def test_it_doubles_again_at_twice_the_peak_and_when_told_to(law):
    """A limit that got twice as far as it was last refused, or nobody used for long, is searched for anew."""
    limit = law(10, least=1)
    limit.refused(0, 1, 10)
    while limit.limit < 20:
        assert not limit.slow
        limit.grow(0.5)
    assert limit.slow
    limit.refused(2, 3, 20)
    limit.restart()
    before = limit.limit
    limit.grow(1.0)
    assert 2 * before == pytest.approx(limit.limit)


@LAWS
def test_without_slow_start_it_never_doubles(law):
    """Not at first, not at twice the peak, not after a silence."""
    limit = law(10, least=1, slow_start=False)
    for _ in range(100):
        limit.grow(1.0)
    limit.restart()
    assert not limit.slow


@LAWS
def test_an_error_steps_back_and_keeps_the_peak(law):
    """A timeout takes a tenth; it ends slow start, but does not forget what was found."""
    limit = law(100, least=1)
    assert limit.eased(0, 1, 0.9)
    assert (90.0, 100.0, False) == (pytest.approx(limit.limit), limit.peak, limit.slow)
    assert not limit.eased(5, 6, 1.0)
    assert 90.0 == pytest.approx(limit.limit)


@LAWS
def test_a_restored_limit_does_not_double_from_there(law):
    """What was good once is a place to begin at, near what is allowed, within the bounds of today."""
    limit = law(10, least=1, most=100)
    limit.restore(80)
    assert (80, False) == (limit.limit, limit.slow)
    limit.grow(1.0)
    assert 80 < limit.limit < 90
    limit.restore(1e6)
    assert 100 == limit.limit


@LAWS
@given(st.floats(-1e6, 1e6))
def test_another_clock_changes_nothing(law, delta):
    """Moved to another clock it knows which calls started before the decrease."""
    limit = law(100, least=1)
    limit.refused(9, 10, 100)
    limit.shift(delta)
    assert not limit.refused(9.9 + delta, 11 + delta, 100)
    assert limit.refused(10.1 + delta, 11 + delta, 100)


@LAWS
@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"initial": 0}, ValueError, "initial=0"),
        ({"initial": "10"}, TypeError, "initial='10'"),
        ({"least": 0}, ValueError, "min=0"),
        ({"most": -1}, ValueError, "max=-1"),
        ({"least": 20}, ValueError, "initial=10 must lie between min=20"),
        ({"most": 5}, ValueError, "max=5"),
        ({"decrease": 1}, ValueError, "decrease=1 must be below 1"),
        ({"decrease": 0}, ValueError, "decrease=0"),
        ({"increase": 0}, ValueError, "increase=0"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(law, wrong, error, text):
    """Each by its name and value."""
    with pytest.raises(error, match=text):
        law(**{"initial": 10, "least": 0.1} | wrong)
