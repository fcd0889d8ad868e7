"""Which layers there are: ours, and what installed packages bring by entry points."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sluiceway
from sluiceway import layers
from sluiceway.layer import Layer

MODULE = """
from sluiceway import Layer

class polite(Layer):
    async def handle(self, call, proceed):
        return await proceed(call)

class bounded(polite):
    pass

def function():
    pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install packages that consist of a module and of entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_layers.py").write_text(MODULE)

    def package(name, **points):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{point} = {value}" for point, value in points.items())
        (info / "entry_points.txt").write_text(f"[sluiceway.layers]\n{lines}\n")

    yield package
    sys.modules.pop("my_layers", None)


def test_ours_are_registered():
    """Every public layer under its name, sorted."""
    found = layers.registered()
    assert sorted(layers.__all__) == list(found)
    assert found["bounded"] is sluiceway.bounded
    assert all(issubclass(layer, Layer) for layer in found.values())


def test_packages_bring_layers(install):
    """An installed package's are found beside ours, at the next look."""
    install("nice", polite="my_layers:polite")
    found = layers.registered()
    assert "my_layers" == found["polite"].__module__
    assert set(found) == {*layers.__all__, "polite"}


def test_the_same_layer_twice_is_no_conflict(install):
    """Two packages may name one class."""
    install("nice", polite="my_layers:polite")
    install("nicer", polite="my_layers:polite")
    assert "polite" in layers.registered()


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ({"bounded": "my_layers:bounded"}, ValueError, "'bounded': one of sluiceway itself, and my_layers:bounded of"),
        ({"polite": "my_layers:function"}, TypeError, "my_layers:function of the package nice is no class of layers"),
        ({"polite": "my_layers:rude"}, ImportError, "the layer 'polite' of the package nice cannot be had"),
        ({"polite": "nowhere:polite"}, ImportError, "cannot be had: nowhere:polite"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(install, points, error, message):
    """By the names of the layer and of the package."""
    install("nice", **points)
    with pytest.raises(error, match=message):
        layers.registered()


def test_two_packages_with_one_name_are_refused(install):
    """Both are named, since one of them must go."""
    install("nice", polite="my_layers:polite")
    install("rude", polite="my_layers:bounded")
    with pytest.raises(ValueError, match=r"rude \(my_layers:bounded\), and my_layers:polite of the package nice"):
        layers.registered()


@pytest.mark.real
def test_importing_sluiceway_looks_for_no_package():
    """Entry points are read when somebody asks."""
    script = "import sluiceway, sys; assert 'sluiceway.layers.registration' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


async def later(_):
    return "a key that nobody awaits"


@pytest.mark.parametrize(
    "make",
    [
        lambda: sluiceway.budgeted(usd=1, per=later),
        lambda: sluiceway.budgeted(usd=1, per=("day", later)),
        lambda: sluiceway.budgeted(usd=1, count=later),
        lambda: sluiceway.rate_limited(tpm=1_000, tokens=later),
        lambda: sluiceway.bounded(1, by=later),
        lambda: sluiceway.cached(key=later),
        lambda: sluiceway.coalesced(key=later),
        lambda: sluiceway.retry_jitter(2, on=later),
        lambda: sluiceway.fallback("gpt-4o", on=later),
        lambda: sluiceway.Fair(later),
    ],
)
def test_what_is_asked_about_a_call_is_no_async_function(make):
    """Each coroutine was a key of its own: no budget was ever spent, and no tenant ever waited for its turn."""
    with pytest.raises(TypeError, match=r"=<function later at .*> must be "):
        make()
