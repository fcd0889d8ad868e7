"""One state for each key: made on first use, kept while busy, never more than so many."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.keyed import MAX_KEYS, Keyed


class State:
    def __init__(self, key):
        self.key = key
        self.busy = False


def states(by=lambda call: call.key, **settings):
    return Keyed(State, by, lambda state: state.busy, **settings)


def call(key):
    return SimpleNamespace(key=key)


def test_a_state_is_made_at_the_first_use_of_its_key_and_found_at_the_next():
    """Two calls of one key have the same state, calls of two keys two."""
    keyed = states()
    assert 0 == len(keyed)
    first = keyed.of(call("a"))
    assert first is keyed.of(call("a"))
    assert first is not keyed.of(call("b"))
    assert ["a", "b"] == [state.key for state in keyed.values()]
    assert [("a", first)] == list(keyed)[:1]


def test_without_by_there_is_one_state_for_all():
    """Its key is None, and no call is asked."""
    keyed = states(by=None)
    assert keyed.of(call("a")) is keyed.of(call("b"))
    assert [None] == [state.key for state in keyed.values()]


@pytest.mark.parametrize("key", [None, 0, "", False, (), ("a", 1)])
def test_any_hashable_value_is_a_key(key):
    """Also those that are false: a tenant that nobody named is a key like any."""
    keyed = states()
    assert keyed.of(call(key)) is keyed.of(call(key))
    assert 1 == len(keyed)


def test_a_key_that_is_not_hashable_is_refused_with_what_to_return():
    """The error names the type that `by` returned."""
    with pytest.raises(TypeError, match="by= returned a list, which is not hashable: return a str, int or tuple"):
        states().of(call(["a"]))


def test_what_by_raises_is_its_own_error():
    """A `TypeError` of the user's function is not taken for an unhashable key."""

    def by(call):
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        states(by=by).of(call("a"))


@pytest.mark.parametrize("by", ["tenant", 5, ("a",)])
def test_by_must_be_a_function(by):
    """A name is not enough; the error shows what one looks like."""
    with pytest.raises(TypeError, match=r"by=.* must be a plain function of the Call .*lambda call: call.hints.tenant"):
        states(by=by)


def test_by_must_not_be_asynchronous():
    """Each of its coroutines would be a key of its own, and no limit would hold."""

    async def by(call):
        """Not called."""

    with pytest.raises(TypeError, match="must be a plain function of the Call"):
        states(by=by)

    class By:
        async def __call__(self, call):
            """Not called."""

    with pytest.raises(TypeError, match="must be a plain function of the Call"):
        states(by=By())


@pytest.mark.parametrize(("most", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_how_many_keys_are_kept_is_a_whole_number_of_at_least_one(most, error):
    """Else it is refused, with the value."""
    with pytest.raises(error, match=rf"max_keys={most!r}"):
        states(max_keys=most)


def test_the_least_recently_used_idle_state_is_forgotten_first():
    """Use, not age, decides; a forgotten key comes back as new."""
    keyed = states(max_keys=2)
    a, b = keyed.of(call("a")), keyed.of(call("b"))
    assert a is keyed.of(call("a"))
    keyed.of(call("c"))
    assert ["a", "c"] == [key for key, _ in keyed]
    assert b is not keyed.of(call("b"))


def test_a_busy_state_is_never_forgotten():
    """Somebody waits or holds something there: it stays, even past the number of keys."""
    keyed = states(max_keys=2)
    busy = [keyed.of(call(key)) for key in "ab"]
    for state in busy:
        state.busy = True
    keyed.of(call("c"))
    assert {"a", "b", "c"} == {key for key, _ in keyed}
    keyed.of(call("d"))
    assert {"a", "b", "d"} == {key for key, _ in keyed}
    assert busy == [keyed.of(call("a")), keyed.of(call("b"))]


def test_states_that_were_busy_past_the_number_go_when_they_are_idle():
    """After a rush of busy keys the next new key brings their number down again, not by one at a time."""
    keyed = states(max_keys=2)
    rush = [keyed.of(call(number)) for number in range(1)]
    rush[0].busy = True
    for number in range(1, 10):
        keyed.of(call(number)).busy = True
    assert 10 == len(keyed)
    for state in keyed.values():
        state.busy = False
    keyed.of(call("new"))
    assert 2 == len(keyed)
    assert "new" in dict(keyed)


def test_a_new_key_among_many_busy_ones_does_not_search_them_all():
    """With all states busy each new key looks at a few: a search through all would be quadratic in the calls."""
    looked = []

    def busy(state):
        looked.append(state)
        return True

    keyed = Keyed(State, lambda call: call.key, busy, max_keys=10)
    for number in range(1000):
        keyed.of(call(number))
    assert 1000 == len(keyed)
    assert len(looked) < 1000 * 5


def test_peeking_neither_makes_nor_uses_a_state():
    """A dashboard that looks at a key does not keep it alive."""
    keyed = states(max_keys=2)
    assert keyed.peek("a") is None
    a = keyed.of(call("a"))
    keyed.of(call("b"))
    assert a is keyed.peek("a")
    keyed.of(call("c"))
    assert keyed.peek("a") is None
    assert 2 == len(keyed)


def test_it_may_change_while_somebody_looks_through_it():
    """Iterating is over a copy."""
    keyed = states()
    keyed.of(call("a"))
    for key, _ in keyed:
        keyed.of(call((key, "more")))
    assert 2 == len(keyed)


def test_a_thousand_keys_are_kept_by_default():
    """The number is stated once."""
    assert 1000 == MAX_KEYS == states().max_keys


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["use", "busy", "idle"]), st.integers(0, 8)), max_size=80),
)
def test_whatever_is_used_busy_states_stay_and_idle_ones_are_few(most, steps):
    """A busy key keeps its state, the newest is there; soon there are no more than `max_keys`, or than are busy."""
    keyed, busy = states(max_keys=most), {}
    for step, key in steps:
        state = keyed.of(call(key))
        assert state.key == key
        assert busy.get(key, state) is state
        if step == "busy":
            state.busy = True
            busy[key] = state
        elif step == "idle":
            state.busy = False
            busy.pop(key, None)
        assert key in [kept for kept, _ in keyed]
        assert all(keyed.peek(kept) is state for kept, state in busy.items())
    sizes = []
    for number in range(10):
        keyed.of(call(("new", number)))
        sizes.append(len(keyed))
    assert min(sizes) <= max(most, len(busy) + 1)
