"""Names for what cannot be written into a file."""

from __future__ import annotations

import pytest

from sluiceway import Call, Fifo, Layer, ReentrantUse, describe
from sluiceway.config import Registry, load


def by_plan(call: Call) -> str:
    """Return a key."""
    return "plan"


class polite(Layer):
    """A layer that is not ours."""

    def __init__(self, words: int = 2, *, by=None, **more) -> None:
        self.words, self.by, self.more = words, by, more

    async def handle(self, call, proceed):
        return await proceed(call)


def chat(*layers):
    """Return a file of one pipeline."""
    return {"pipelines": {"chat": {"layers": list(layers)}}}


def test_functions_errors_objects_and_layers_have_names():
    """Given as a mapping, added, or registered by a decorator."""
    registry = Registry({"plan": by_plan, "reentrant": ReentrantUse}, modules=())
    queue = registry.add("queue", Fifo())
    registry.register(polite)
    file = chat(
        {"use": "fallback", "alternatives": ["gpt-4o", {"function": "ask"}]},
        {"use": "retry_jitter", "on": ["reentrant", "OSError"]},
        {"use": "bounded", "limit": 3, "by": "plan", "queue": "queue"},
        {"use": "polite", "words": 3, "by": "plan", "tone": "warm"},
        {"use": "chaos", "errors": {"reentrant": 0.1}},
    )
    with pytest.raises(ValueError, match="'ask' stands for nothing"):
        load(file, registry=registry)

    @registry.register
    async def ask(model): ...

    fallback, retry, bounded, mine, chaos = load(file, registry=registry).pipelines["chat"].layers
    assert (by_plan, queue) == (bounded.settings()["by"], bounded.settings()["queue"])
    assert (ReentrantUse, OSError) == retry.settings()["on"]
    assert (3, "plan", {"tone": "warm"}) == (
        mine.words,
        mine.by,
        mine.more,
    )  # by= has no annotation, so that it is text
    assert {ReentrantUse: 0.1} == chaos.settings()["errors"]
    assert ("gpt-4o", ask) == fallback.alternatives


def test_keys_that_everybody_needs_have_a_name_already():
    """`model`, `tenant` and `priority`."""
    for name in ("model", "tenant", "priority"):
        (layer,) = load(chat({"use": "bounded", "limit": 3, "by": name})).pipelines["chat"].layers
        assert name == layer.settings()["by"].__name__


def test_a_name_stands_for_one_thing():
    """Given twice it is an error, unless it is the same thing."""
    registry = Registry({"plan": by_plan})
    assert by_plan is registry.add("plan", by_plan)
    with pytest.raises(ValueError, match="'plan' stands for"):
        registry.add("plan", Fifo())
    with pytest.raises(ValueError, match="'tenant' stands for"):
        registry.add("tenant", by_plan)


@pytest.mark.parametrize("name", ["", "a b", "1a", "a:b", 3])
def test_what_is_no_name_is_refused(name):
    """A name is made of letters, digits, `_`, `-` and `.`."""
    with pytest.raises((TypeError, ValueError), match="name="):
        Registry().add(name, by_plan)


@pytest.mark.parametrize("modules", ["os", [3]])
def test_modules_are_a_list_of_names(modules):
    """One str would be taken for its letters."""
    with pytest.raises(TypeError, match="modules"):
        Registry(modules=modules)


def test_names_are_found_the_other_way_round():
    """By the thing itself; a function of a module that is allowed by where it is."""
    registry = Registry({"plan": by_plan}, modules=[by_plan.__module__])
    assert "plan" == registry.name_of(by_plan)
    assert f"{polite.__module__}:polite" == registry.name_of(polite)
    assert registry.name_of(Fifo()) is None
    assert "sluiceway" in Registry().allowing(["sluiceway"])._modules
    assert "plan" in repr(registry)


def test_what_has_no_name_cannot_be_written_and_is_told():
    """With one in the registry it can, and loads to the same pipeline."""
    from sluiceway import Pipeline, bounded

    pipeline = Pipeline(bounded(3, by=by_plan), name="chat")
    with pytest.raises(ValueError, match=r"layers\[0\]\.by: by_plan cannot be written; give registry= with a name for"):
        describe(pipeline).to_config()
    registry = Registry({"plan": by_plan})
    text = describe(pipeline).to_config(registry=registry)
    assert 'by = "plan"' in text
    assert describe(pipeline) == describe(load(text=text, format="toml", registry=registry).pipelines["chat"])
