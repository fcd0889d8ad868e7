"""Facts: frozen, slotted, and cheap to make."""

import dataclasses
import inspect

import pytest

from sluiceway.facts import fact


@fact
class Base:
    """A fact."""

    at: float


@fact
class Derived(Base):
    """A fact with more to tell."""

    what: str
    secret: str = dataclasses.field(default="s", repr=False)


def test_a_fact_is_a_frozen_dataclass():
    """It compares, prints and refuses changes as a frozen dataclass does."""
    made = Derived(1.0, "x")
    assert Derived(at=1.0, what="x", secret="s") == made
    assert "Derived(at=1.0, what='x')" == repr(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.at = 2.0
    assert Derived(2.0, "x") == dataclasses.replace(made, at=2.0)
    assert not hasattr(made, "__dict__")


def test_a_fact_takes_the_arguments_of_a_dataclass():
    """Its signature names fields and defaults, and too few arguments are a TypeError."""
    assert ["at", "what", "secret"] == list(inspect.signature(Derived).parameters)
    with pytest.raises(TypeError, match="what"):
        Derived(1.0)
