"""A scope with statistics, if wanted a client, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Literal, Self

from .binding import chain_of
from .durations import optional_seconds
from .errors import SessionClosed
from .events import CallFinished, ErrorRateHigh, Event, Sink
from .functions import require_plain
from .gathering import Gathering, Item, ended
from .layer import Layer, Pipeline, flat
from .many_items import ManyItems
from .running import layers_in
from .session_client import SessionClient
from .sharing.store import SharedStore
from .telemetry import logs
from .telemetry.hub import attached, process_scopes, publish, scopes
from .telemetry.last_minute import Episodes
from .telemetry.linking import RELATIONS, SessionSpan
from .telemetry.pricing import Pricing, load_soon
from .telemetry.statistics import Statistics
from .telemetry.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from opentelemetry.trace import Span

    from .call import Call
    from .durations import Duration
    from .providers.prices import PriceTable
    from .telemetry.linking import Relation


class Session(ManyItems):
    """Statistics of every call inside, many items at once, and nothing left behind.

    ``async with Session("nightly") as session: outcomes = await session.gather(ask, prompts); print(session.stats)``.
    Calls belong to the sessions around them when they start, also in tasks made inside: all of the nested ones count
    them, and a call that outlives its session still counts. Calls that start in such a task when the session has
    ended are none of its calls. It may be left in another task than it was entered in, and be entered once.

    Args:
        name: shown in the table and, with some random digits, as `session.id` in spans and logs.
        pipeline: layers for `complete`. What their stores hold for this event loop goes back at the end.
        client: an `AsyncOpenAI` or alike for `complete`; None to make the recommended one when it is needed.
        model: what `complete` asks, unless told otherwise.
        prices: ``{"my-model": {"input": 0.15, "output": 0.6}}`` in USD for a million tokens; they win over the list.
        on_event: hears every event of the session's calls and its own `ErrorRateHigh`; it must not block.
        on_alert: hears the session's own `ErrorRateHigh` alone, which costs calls nothing; it must not block.
        error_rate_alert: an `ErrorRateHigh` is reported when more than this share of at least 50 calls of the last
            minute did not succeed, once until it falls to half of that; None for never.
        own_client: whether to close the client at the end; None to close it if the session made it.
        scope: `"context"` for the calls inside; `"process"` for every call of the process while it is open.
        span: a span of the session's own: `"children"` puts its calls into one trace below it, for some hundreds of
            them; `"links"` leaves each call a trace of its own, sampled by itself, with a link to it.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        pipeline: Layer | None = None,
        client: Any = None,
        model: str | None = None,
        prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
        on_event: Sink | None = None,
        on_alert: Callable[[ErrorRateHigh], object] | None = None,
        error_rate_alert: float | None = 0.05,
        own_client: bool | None = None,
        scope: Literal["context", "process"] = "context",
        span: Relation | None = None,
    ) -> None:
        super().__init__()
        _check(name, pipeline, model, error_rate_alert, scope)
        for what, hook in (("on_event", on_event), ("on_alert", on_alert)):
            if hook is not None:
                require_plain(hook, what)
        if span not in (None, *RELATIONS):
            raise ValueError(f"span={span!r} must be one of {', '.join(map(repr, RELATIONS))}, or None for no span")
        self.name = name or ""
        self._called = f"session {name}" if name else "the session"
        self.id = f"{name or 'session'}-{os.urandom(4).hex()}"
        layers = () if pipeline is None else flat((pipeline,))
        stores = (layer.settings().get("store") for layer in layers)
        self._stores = [store for store in stores if isinstance(store, SharedStore)]
        call_name = pipeline.name if isinstance(pipeline, Pipeline) and pipeline.chain.name else "complete"
        self._client = SessionClient(client, layers, call_name, owned=own_client)
        self._model = model
        self._pricing = Pricing(prices)
        self._on_event = on_event
        self._on_alert = on_alert
        self._episodes = None if error_rate_alert is None else Episodes(error_rate_alert)
        self._scope = scope
        self._relation = span
        self.tracing: SessionSpan | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._statistics: Statistics | None = None
        self._started_at = 0.0
        self._ended_at: float | None = None
        self.drains = False
        self._quiet = asyncio.Event()
        self.hear = _pass_over
        self.counter: Statistics | None = None

    def __repr__(self) -> str:
        if self._statistics is None:
            return f"<Session {self.id}, not entered>"
        state = "ended" if self._ended_at is not None else "draining" if self.drains else "open"
        return f"<Session {self.id}, {state}, {self._statistics.in_flight} in flight>"

    @property
    def pricing(self) -> Pricing:
        """What usage costs: a function of a model's name and a `Usage` that returns USD, None if nobody knows."""
        return self._pricing

    @property
    def span(self) -> Span | None:
        """OpenTelemetry's span of the session, such as to link to; None where none is asked for, or not yet entered."""
        return None if self.tracing is None else self.tracing.span

    # ------------------------------------------------------------------ its life

    @staticmethod
    def current() -> Session | None:
        """Return the innermost session around the running code, else the process's; None outside of any."""
        around = (scope for scope in (*scopes.get(), *reversed(process_scopes)) if isinstance(scope, Session))
        return next((session for session in around if session._ended_at is None), None)  # noqa: SLF001 - our own

    async def __aenter__(self) -> Self:
        if self._statistics is not None:
            raise RuntimeError(f"{self!r} was entered before: make another Session")
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        on_bad = None if self._episodes is None else self._watch_error_rate
        self._statistics = Statistics(
            self._started_at, self.name, price=self._pricing, on_bad=on_bad, excused=self._excuses
        )
        self.hear = self._statistics.hear if self._on_event is None else self._count_and_tell
        self.counter = self._statistics if self._on_event is None else None
        load_soon()
        if self._relation is not None:
            self.tracing = SessionSpan(self.name, self.id, self._relation)
        if self._scope == "process":
            process_scopes.append(self)
        else:
            scopes.set((self, *scopes.get()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._ended_at = self._loop.time()
        self.drains = False  # what tasks that it leaves behind call from now on is none of its calls
        self.counter = None
        self.hear = _pass_over  # for calls that start from now on; those under way hold on to the old one
        self._withdraw()
        try:
            await ended([task for gathering in list(self._gatherings) for task in gathering.end()])
        finally:
            if self.tracing is not None:
                self.tracing.end(self.stats, error)
            async with contextlib.AsyncExitStack() as stack:  # each store, whatever the client and the others raise
                for store in reversed(self._stores):
                    stack.push_async_callback(store.aclose)
                await self._client.close()

    def _withdraw(self) -> None:
        # Set anew, not reset by a token: this may be another task's context than the one it was entered in.
        scopes.set(tuple(scope for scope in scopes.get() if scope is not self))
        if self in process_scopes:
            process_scopes.remove(self)
        for layer, heard in list(attached.items()):
            left = tuple(scope for scope in heard if scope is not self)
            if left:
                attached[layer] = left
            else:
                del attached[layer]

    def attach(self, target: Callable[..., Any] | Layer) -> None:
        """Count the calls through *target* too, wherever they are made: in tasks that are older than the session.

        Args:
            target: a pipeline, a layer or a decorated function. Known by its outermost layer: whatever else that same
                layer object wraps is counted as well.

        Raises:
            TypeError: *target* is none of these.
            ValueError: *target* has no layers.
            SessionClosed: the session has ended or drains.
        """
        self._require_open()
        chain = chain_of(target)
        if chain is None and not isinstance(target, Layer):
            raise TypeError(
                f"{type(target).__name__} object cannot be attached: give a pipeline, a layer or a decorated function"
            )
        layers = layers_in((target,)) if isinstance(target, Layer) else chain.layers if chain is not None else ()
        if not layers:
            raise ValueError("it has no layers, by which its calls would be known")
        heard = attached.get(layers[0], ())
        if self not in heard:
            attached[layers[0]] = (*heard, self)

    # ------------------------------------------------------------------ what it hears

    @property
    def stats(self) -> Stats:
        """What was counted so far; frozen. ``print(session.stats)`` shows a table."""
        statistics = self._statistics
        if statistics is None or self._loop is None:
            return Stats(name=self.name)
        if self._ended_at is not None:
            return statistics.snapshot(self._ended_at)
        return statistics.snapshot(statistics.last_at if self._loop.is_closed() else self._loop.time())

    def admit(self, call: Call) -> None:
        """Let *call* begin, unless the session drains and it is no part of what is under way.

        Raises:
            SessionClosed: the session drains.
        """
        if self.drains:
            parent = call.run.parent
            inside = parent is not None and parent.started_at >= self._started_at
            if not inside and not any(isinstance(scope, Item) and scope.session is self for scope in scopes.get()):
                raise SessionClosed(f"{self._called} drains and takes no new calls")

    def _count_and_tell(self, event: Event) -> None:
        assert self._statistics is not None
        self._statistics.hear(event)
        assert self._on_event is not None
        _tell(self._on_event, event)

    def _excuses(self, error: BaseException | None) -> bool:  # noqa: ARG002 - for sessions that do
        """Whether calls that end with *error* are none of the error rate's."""
        return False

    def _watch_error_rate(self, event: CallFinished) -> None:
        assert self._statistics is not None
        assert self._episodes is not None
        bad, calls = self._statistics.last_minute.seen(event.at)
        if self._episodes.begins(bad, calls):
            high = ErrorRateHigh(event.at, None, self.id, bad / calls, calls, self._episodes.threshold)
            publish(high)
            if self not in scopes.get() and self not in process_scopes:
                self.hear(high)
            if self._on_alert is not None:
                _tell(self._on_alert, high)

    # ------------------------------------------------------------------ one prompt

    async def complete(self, prompt: str | Iterable[Mapping[str, Any]], **options: Any) -> Any:
        """Ask the model and return the provider's `ChatCompletion`, or its stream with ``stream=True``.

        Args:
            prompt: the user's message, or all messages.
            options: further arguments of `chat.completions.create`; `model` wins over the session's.

        Raises:
            ValueError: neither the session nor *options* names a model.
            SessionClosed: the session has ended or drains.
        """
        self._require_open(draining=True)  # `admit` tells what is under way from what is new
        options.setdefault("model", self._model)
        if not options["model"]:
            raise ValueError("no model: give Session(model=...) or complete(prompt, model=...)")
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        around = scopes.get()
        token = scopes.set(around if self in around else (self, *around))  # in a task older than the session too
        try:
            return await self._client.create(messages=messages, **options)
        finally:
            scopes.reset(token)

    # ------------------------------------------------------------------ no more

    async def drain(self, limit: Duration | None = None) -> bool:
        """Take no new calls and wait until those in flight are over; return whether they all are.

        From now on new calls and items end with `SessionClosed`; retries, and the further calls of an item or call that
        is under way, do not.

        Args:
            limit: how long to wait; None for as long as it takes.
        """
        timeout = optional_seconds(limit, "limit", zero=True)
        self._require_open(draining=True)
        assert self._statistics is not None
        self.drains = True
        for gathering in list(self._gatherings):
            gathering.refuse()
        self._statistics.on_idle = self._idle
        self._quiet.clear()
        self._idle()
        try:
            async with asyncio.timeout(timeout):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    def _require_open(self, *, draining: bool = False) -> None:
        refusal = self.refusal()
        if refusal is not None and not (draining and self._ended_at is None):
            raise refusal

    def refusal(self) -> SessionClosed | None:
        """Return why no new calls and items may begin; None while they may.

        Raises:
            RuntimeError: the session was not entered.
        """
        if self._statistics is None:
            raise RuntimeError(f"{self!r}: write `async with` it first")
        if self._ended_at is not None:
            return SessionClosed(f"{self._called} has ended and takes no new calls")
        return SessionClosed(f"{self._called} drains and takes no new calls") if self.drains else None

    def rests(self, gathering: Gathering[Any, Any]) -> None:
        """None of the items of *gathering* runs."""
        super().rests(gathering)
        self._idle()

    def _idle(self) -> None:
        """Something is over; if all is, whoever drains goes on."""
        loop = self._loop
        busy = self._statistics is not None and self._statistics.in_flight
        if loop is None or busy or any(gathering.running for gathering in self._gatherings):
            return
        if _runs_here(loop):
            self._quiet.set()
        else:  # the last call was one of another thread's, which a session of the whole process hears
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody drains
                loop.call_soon_threadsafe(self._quiet.set)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _pass_over(event: Event) -> None:
    """Hear nothing."""


def _tell(hook: Callable[[Any], object], event: Event) -> None:
    try:
        hook(event)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a hook must not break a call
        logs.broken(hook, error)


def _check(name: Any, pipeline: Any, model: Any, alert: Any, scope: Any) -> None:
    for what, value in (("name", name), ("model", model)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{what}={value!r} must be a str")
    if pipeline is not None and not isinstance(pipeline, Layer):
        raise TypeError(f"pipeline={pipeline!r} must be a Pipeline or another layer")
    if alert is not None and (not isinstance(alert, (int, float)) or isinstance(alert, bool)):
        raise TypeError(f"error_rate_alert={alert!r} must be a share such as 0.05, or None")
    if alert is not None and not 0 < alert < 1:
        raise ValueError(f"error_rate_alert={alert!r} must lie between 0 and 1, such as 0.05 for 5 %")
    if scope not in ("context", "process"):
        raise ValueError(f'scope={scope!r} must be "context" or "process"')
