"""A client whose API calls run through layers, and which is otherwise the client itself."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Self, TypeVar

import wrapt

from .binding import bind, chain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layer import Layer

C = TypeVar("C")

_CALLS = frozenset({"create", "parse"})
_COPIES = frozenset({"with_options", "copy"})
_GROUPS = frozenset({"audio", "beta", "chat", "completions", "messages", "responses"})


def wrap_client(client: C, layers: Sequence[Layer], name: str | None = None) -> C:
    """Return *client* with every `create` and `parse` of its resources running through *layers*.

    Raises:
        TypeError: *client* is synchronous.
    """
    require_async_client(client)
    return _Wrapped(client, tuple(layers), name)  # type: ignore[return-value]


def require_async_client(client: object) -> None:
    """Refuse a synchronous client, by the shape of its `chat.completions.create` or `messages.create`."""
    for path in ("chat.completions.create", "messages.create", "responses.create"):
        try:
            create = functools.reduce(getattr, path.split("."), client)
        except AttributeError:
            continue
        if inspect.iscoroutinefunction(inspect.unwrap(create)):  # type: ignore[arg-type]
            return
        raise TypeError(
            f"{type(client).__name__} is synchronous: sluiceway's layers wrap asynchronous calls, use AsyncOpenAI"
        )
    raise TypeError(f"{type(client).__name__} has no chat.completions, responses or messages to run through layers")


class _Wrapped(wrapt.ObjectProxy[Any]):
    """A client or one of its resources."""

    def __init__(self, target: Any, layers: tuple[Layer, ...], name: str | None) -> None:
        super().__init__(target)
        self._self_layers = layers
        self._self_name = name
        self._self_made: dict[str, tuple[Any, Any]] = {}

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self.__wrapped__, attribute)
        made = self._self_made.get(attribute)
        if made is not None and made[0] == value:  # else somebody replaced it, as tests do
            return made[1]
        wrapped = self._self_wrap(attribute, value)
        if wrapped is not value:
            self._self_made[attribute] = (value, wrapped)
        return wrapped

    def _self_wrap(self, attribute: str, value: Any) -> Any:
        if attribute in _CALLS and callable(value):
            chain = chain_of(value)
            if chain is not None and self._self_layers and chain.parts[: len(self._self_layers)] == self._self_layers:
                return value  # a test put back what it had found here
            return bind(value, self._self_layers, self._self_name)
        if attribute in _COPIES and callable(value):
            return functools.partial(_copied, value, self._self_layers, self._self_name)
        if _is_resource(attribute, value):
            return _Wrapped(value, self._self_layers, self._self_name)
        return value

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> Any:
        return await self.__wrapped__.__aexit__(*exc)


def _copied(copy: Any, layers: tuple[Layer, ...], name: str | None, *args: Any, **kwargs: Any) -> Any:
    return _Wrapped(copy(*args, **kwargs), layers, name)


def _is_resource(attribute: str, value: object) -> bool:
    """Whether *value* groups API calls: `client.chat`, `client.chat.completions`, `with_raw_response`, ..."""
    kind = value.__class__  # not its type: a resource of a client that is wrapped already is a proxy
    if any("Resource" in cls.__name__ or "WithRawResponse" in cls.__name__ for cls in kind.__mro__):
        return True
    # clients of other makes name their classes as they like: what was missed would go past every limit
    if attribute in _GROUPS:
        return kind.__module__ != "builtins"
    return not callable(value) and any(callable(getattr(value, call, None)) for call in _CALLS)
