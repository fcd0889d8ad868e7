"""One run of a batch, from its lock to its last line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sluiceway.batch.apart import require_apart
from sluiceway.batch.corrected import forget_corrected
from sluiceway.batch.errors import BatchError
from sluiceway.batch.ids import KnownIds
from sluiceway.batch.keeping import Keeper
from sluiceway.batch.known import Before, settled_in
from sluiceway.batch.lock import Lock
from sluiceway.batch.manifest import Manifest, wall_time
from sluiceway.batch.outcome import BatchRun
from sluiceway.batch.resuming import manifest_for, refuse_other_prompts, refuse_parts
from sluiceway.batch.retrying_dead import merge, second_letters
from sluiceway.batch.runner import Runner
from sluiceway.batch.scope import BatchSession
from sluiceway.batch.signals import Signals
from sluiceway.batch.verdicts import Stop
from sluiceway.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sluiceway.batch.paths import Paths
    from sluiceway.batch.settings import Settings
    from sluiceway.batch.sources.source import Source
    from sluiceway.batch.target import Target
    from sluiceway.events import ErrorRateHigh


class Batch:
    """One run from its lock to its last line; `run` and `retry_dead` make one.

    Raises:
        BatchError: it would write into what it reads.
    """

    def __init__(
        self,
        target: Target,
        source: Source,
        paths: Paths,
        settings: Settings,
        name: str,
        prices: Any,
        on_alert: Callable[[ErrorRateHigh], None] | None,
        watch: Any,
    ) -> None:
        require_apart(paths, source)
        self._target = target
        self._source = source
        self._paths = paths
        self._settings = settings
        self._watch = watch
        self._on_alert = on_alert
        self._alerts = 0
        self._signal: int | None = None
        self._runner: Runner | None = None
        self._session = BatchSession(  # of a million rows in one trace nobody could see anything: each has its own
            name, prices=prices, on_alert=self._alert, error_rate_alert=settings.alert_over, span="links"
        )

    async def run(self, *, resume: bool | None = None) -> BatchRun:
        """Run it; *resume* as in `run`."""
        paths = self._paths
        with Signals(self._signalled), _unwritable(paths), Lock(paths.lock):
            settings = {**self._target.settings, "full_response": self._settings.full_response}
            manifest = await asyncio.to_thread(manifest_for, paths, self._source, settings, resume=resume)
            refuse_parts(paths)
            ids = KnownIds()
            known = await asyncio.to_thread(settled_in, paths.results, paths.dead, ids)
            return await self._recorded(manifest, ids, known, None)

    async def run_again(self) -> BatchRun:
        """Run it over dead letters: those that are answered leave them."""
        paths = self._paths
        with Signals(self._signalled), _unwritable(paths), Lock(paths.lock):
            manifest = Manifest.read(paths.manifest) or Manifest({}, self._target.settings)
            refuse_other_prompts(paths, manifest, self._target.settings)
            ids = KnownIds()
            await asyncio.to_thread(settled_in, paths.results, None, ids)
            again = second_letters(paths)
            again.unlink(missing_ok=True)
            return await self._recorded(manifest, ids, Before(), again)

    async def _recorded(self, manifest: Manifest, ids: KnownIds, known: Before, again: Path | None) -> BatchRun:
        """Run it, and write down that it began and what it came to."""
        paths = self._paths
        begun = {"started_at": wall_time(), "pipeline": layers_of_target(self._target)}
        async with Keeper(paths, ids, self._settings.durability, self._settings.disk_patience, again) as keeper:
            _noted(manifest, begun).write(paths.manifest)
            outcome = await self._run(keeper, ids, known)
        if again is not None:
            outcome = await _merged(outcome, paths, ids)
        elif known.dead and self._runner is not None and self._runner.complete:
            with contextlib.suppress(OSError):  # the letters are as they were
                good = await asyncio.to_thread(forget_corrected, paths.dead, ids, outcome.rows)
                outcome = replace(outcome, dead_in_all=outcome.dead_in_all - good)
        with contextlib.suppress(OSError):  # the disk is full: what was answered is there, and the first manifest too
            _noted(manifest, {**begun, **told(outcome)}).write(paths.manifest)
        return outcome

    async def _run(self, keeper: Keeper, ids: KnownIds, known: Before) -> BatchRun:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._session as session:
            self._runner = runner = Runner(self._target, self._source, keeper, ids, session, self._settings)
            if self._signal is not None:
                runner.stop(_ending(signal.Signals(self._signal).name))
            async with contextlib.nullcontext() if self._watch is None else self._watch(runner.progress):
                await runner.run()
        return BatchRun(
            self._paths,
            runner.read,
            runner.before,
            keeper.answered,
            keeper.dead,
            runner.pending,
            known.dead + keeper.dead,
            runner.complete and not runner.pending,
            keeper.told(runner.stopping),
            self._signal,
            self._alerts,
            keeper.repaired,
            loop.time() - began,
            session.stats,
        )

    def _signalled(self, number: int) -> None:
        again, self._signal = self._signal is not None, number if self._signal is None else self._signal
        if self._runner is not None:  # else it has not begun to ask, and will see what came
            name = signal.Signals(number).name
            if again:
                self._runner.abort(Stop("signal", f"a second {name}"))
            else:
                self._runner.stop(_ending(name))

    def _alert(self, event: ErrorRateHigh) -> None:
        self._alerts += 1
        if self._on_alert is not None:
            self._on_alert(event)


def _ending(name: str) -> Stop:
    return Stop("signal", f"{name}: no row is begun any more, those in flight may finish; run it again for the rest")


async def _merged(outcome: BatchRun, paths: Paths, ids: KnownIds) -> BatchRun:
    """Return *outcome* with what is left of the dead letters, which lose those that were answered."""
    try:
        return replace(outcome, dead_in_all=await asyncio.to_thread(merge, paths, ids))
    except OSError as error:
        text = f"{paths.dead} cannot be written and is as it was before: {error.strerror or error}"
        return replace(outcome, dead_in_all=1, stopped=outcome.stopped or Stop("disk", text))


def told(outcome: BatchRun) -> dict[str, Any]:
    """Return what a manifest says about a run that is over."""
    counts = ("rows", "before", "answered", "dead", "pending", "complete", "signal", "alerts", "repaired")
    stopped = outcome.stopped
    return {
        "ended_at": wall_time(),
        **{name: getattr(outcome, name) for name in counts},
        "stopped": None if stopped is None else {"kind": stopped.kind, "message": stopped.message},
        "elapsed_s": round(outcome.elapsed, 3),
        "stats": outcome.stats.to_dict(),
    }


def layers_of_target(target: Target) -> list[dict[str, Any]]:
    """Return the layers that rows go through, with the settings that differ from None; what is secret by its name."""
    try:
        layers = describe(target.function).layers
    except TypeError:
        return []
    return [
        {"layer": layer.name, **{key: _plain(value) for key, value in layer.settings.items() if value is not None}}
        for layer in layers
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and type(value) is not str:  # a `Secret` is a str, and its `repr` its reference
        return repr(value).strip("'")
    return value if isinstance(value, (bool, int, float, str)) else repr(value)


def _noted(manifest: Manifest, latest: Mapping[str, Any]) -> Manifest:
    return Manifest(manifest.source, manifest.settings, (*manifest.runs, latest))


@contextlib.contextmanager
def _unwritable(paths: Paths) -> Iterator[None]:
    """Say which batch it is whose files cannot be opened or written."""
    try:
        yield
    except OSError as error:
        path = error.filename or paths.results
        raise BatchError(f"the results cannot be written: {path}: {error.strerror or error}") from error
