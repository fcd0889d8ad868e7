"""What a layer holds, in a few words: told by the fields of its snapshot, whoever wrote the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

State: TypeAlias = Mapping[str, Any]
Words: TypeAlias = tuple[str, str]
"""A text, and its style."""

_KEYS: Final = 3  # states of one layer that get a line each


def said(layer: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return a name, a text and a style for each line that *layer* is worth; a line a key, the busiest first."""
    states = layer["states"]
    if "name" in (states[0] if states else {}):  # deployments
        for state in states:
            yield layer["layer"], *_deployment(state)
        return
    if layer["keys"] > 1:
        waiting = sum(state.get("waiting", 0) for state in states)
        yield layer["layer"], f"{layer['keys']:,} keys, {waiting:,} wait", "wait" if waiting else ""
    for state in states[:_KEYS]:
        name = layer["layer"] if layer["keys"] == 1 else f"  {state.get('key') or ''}"
        yield name, *_one(state, layer["per_minute"] if layer["keys"] == 1 else None)


def _one(state: State, per_minute: State | None) -> Words:
    for field, words in _BY_FIELD.items():
        if field in state:
            return words(state)
    if "available" in state:
        return _rate(state, per_minute)
    if "in_flight" in state and isinstance(state.get("limit"), int):
        return _bound(state)
    return _numbers(state), ""


def _rate(state: State, per_minute: State | None) -> Words:
    parts = []
    for name, limit in state["limit"].items():
        used = None if per_minute is None else _used(name, per_minute)
        left = state["available"].get(name)
        if used is not None and limit:
            parts.append(f"{name} {used:,.0f} of {limit:,.0f} ({100 * used / limit:.0f} %)")
        elif left is not None:
            parts.append(f"{name} {left:,.0f} left of {limit:,.0f}")
    if state.get("rate") is not None:
        parts.append(f"at {state['rate']:.3g}/s now")
    if state["waiting"]:
        parts.append(f"{state['waiting']:,} wait")
    if state["paused_for"]:
        parts.append(f"paused for {state['paused_for']:.3g} s")
    return "   ".join(parts), "bad" if state["paused_for"] else "wait" if state["waiting"] else ""


def _used(name: str, per_minute: State) -> float | None:
    """Return what a minute at the present pace takes of the limit *name*, for limits of a minute."""
    used: float | None = per_minute["requests"] if name == "rpm" else per_minute["tokens"] if name == "tpm" else None
    return used


def _bound(state: State) -> Words:
    waiting = f"   {state['waiting']:,} wait" if state.get("waiting") else ""
    style = "wait" if waiting else ""
    return f"{state['in_flight']:,} of {state['limit']:,} in flight{waiting}", style


def _circuit(state: State) -> Words:
    name = state["state"].replace("_", "-")
    why = f" ({state['reason']})" if state.get("reason") and name != "closed" else ""
    failed = f"   {state['failures']:,} of {state['calls']:,} failed" if state.get("calls") else ""
    style = {"closed": "good", "open": "bad", "isolated": "bad"}.get(name, "wait")
    return f"{name}{why}{failed}", style


def _budget(state: State) -> Words:
    parts = []
    low = False
    for unit, limit in state["limit"].items():
        spent, held = state["spent"][unit], state["reserved"][unit]
        low = low or state["left"][unit] < 0.1 * limit
        reserved = f", {_amount(unit, held)} reserved" if held else ""
        parts.append(f"{_amount(unit, spent)} of {_amount(unit, limit)} spent{reserved}")
    return "   ".join(parts), "bad" if low else ""


def _amount(unit: str, value: float) -> str:
    return f"${value:,.4g}" if unit == "usd" else f"{value:,.0f} {unit}"


def _deployment(state: State) -> Words:
    avoided = f"   avoided for {state['avoided_for']:.3g} s" if state["avoided_for"] else ""
    took = f"   {state['latency']:.3g} s" if state["latency"] else ""
    text = f"{state['name']}   {state['in_flight']:,} in flight   {state['failures']:,} of {state['calls']:,} failed"
    return f"{text}{took}{avoided}", "bad" if avoided else ""


def _retries(state: State) -> Words:
    limit = "" if state.get("limit") is None else f" (at most {state['limit']:,.0f})"
    return f"{state['retries']:,} retries among {state['calls']:,} calls{limit}", "wait" if state["retries"] else ""


def _hedges(state: State) -> Words:
    after = "too little known yet" if state["after"] is None else f"after {state['after']:.3g} s"
    return f"{after}   {state['racing']:,} racing, {state['sent']:,} sent, {state['won']:,} won", ""


def _cache(state: State) -> Words:
    asked = state["hits"] + state["misses"]
    share = f" ({100 * state['hits'] / asked:.0f} %)" if asked else ""
    return f"{state['hits']:,} hits{share}, {state['misses']:,} misses", ""


_BY_FIELD: Final[dict[str, Callable[[State], Words]]] = {
    "state": _circuit,
    "spent": _budget,
    "retries": _retries,
    "racing": _hedges,
    "hits": _cache,
}
"""The field that only one kind of layer has, and who puts that one into words."""


def _numbers(state: State) -> str:
    shown = [
        f"{name} {value:,.4g}"
        for name, value in state.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    inner = [(name, value) for each in state.values() if isinstance(each, Mapping) for name, value in each.items()]
    return "   ".join([*shown, *(f"{name} {value:,.4g}" for name, value in inner)])
