"""What `sluiceway.testing` offers."""

import pytest

import sluiceway.testing


def test_every_public_name_is_there():
    """Each name that the kit offers can be had and is listed."""
    for name in sluiceway.testing.__all__:
        assert getattr(sluiceway.testing, name) is not None
        assert name in dir(sluiceway.testing)


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not offered fails as in any module."""
    with pytest.raises(AttributeError, match=r"sluiceway\.testing.*no attribute 'nonsense'"):
        _ = sluiceway.testing.nonsense
