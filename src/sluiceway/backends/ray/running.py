"""`sluiceway.backends.ray.run`: a batch on as many machines as there are."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

from sluiceway.backends.memory import MemoryStore
from sluiceway.backends.ray import cluster
from sluiceway.backends.ray.fleet import Size
from sluiceway.backends.ray.ray_batch import RayBatch
from sluiceway.backends.ray.reading import Reading, Rows, is_dataset, local
from sluiceway.backends.ray.work import Work
from sluiceway.batch.errors import BatchError
from sluiceway.batch.paths import Paths
from sluiceway.batch.settings import Settings
from sluiceway.batch.sources.opening import MAX_ROW
from sluiceway.batch.usual import usual_pipeline
from sluiceway.binding import layers_of
from sluiceway.layer import Layer
from sluiceway.layers import bounded, rate_limited
from sluiceway.order import PipelineWarning

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sluiceway.backends.ray.work import Layers
    from sluiceway.batch.outcome import BatchRun
    from sluiceway.batch.progress import Progress
    from sluiceway.batch.questions import Endpoint
    from sluiceway.layer import Pipeline
    from sluiceway.providers.prices import PriceTable
    from sluiceway.sharing.store import SharedStore

ACTORS: Final = 2
CPUS: Final = 0.5
PACK: Final = 50


def usual_layers(store: SharedStore, **settings: Any) -> Pipeline:
    """Return `usual_pipeline(**settings)` with its limits shared by all actors."""
    return usual_pipeline(store=store.named("batch"), **settings)


async def run(
    ask: Callable[[Any], Awaitable[Any]] | str,
    source: str | os.PathLike[str] | Sequence[Any] | Any,
    results: str | os.PathLike[str],
    *,
    pipeline: Layers = usual_layers,
    actors: int = ACTORS,
    cpus: float = CPUS,
    address: str | None = None,
    store: str | None = None,
    pack: int = PACK,
    template: str | None = None,
    argument: Literal["prompt", "row"] = "prompt",
    base_url: str | None = None,
    api_key: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    system: str | None = None,
    endpoint: Endpoint | None = None,
    format: str | None = None,
    id_column: str = "id",
    max_row: int = MAX_ROW,
    resume: bool | None = None,
    name: str = "batch",
    prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
    watch: Callable[[Callable[[], Progress]], contextlib.AbstractAsyncContextManager[Any]] | None = None,
    **settings: Any,
) -> BatchRun:
    """Ask about every row of *source* as `sluiceway.batch.run` does, with actors on one machine or a cluster.

    ``await ray.run("gpt-4o-mini", "prompts.jsonl", "answers.jsonl", actors=8)``. Ray Data reads the rows as there is
    room; each actor has many calls under way at a time, through layers of its own, and all actors share the limits.
    Results, dead letters and manifest are those of `batch.run`, on the machine of this process, and either goes on with
    what the other began. A row counts as done when its line is with the operating system there: if an actor or its
    machine dies, another takes its rows over, and asks again at most what was in flight. If this process dies, the same
    command goes on.

    Args:
        ask: an async function of one argument, without layers, that the actors can import or that Ray can send to them;
            or the name of a model behind an OpenAI-compatible API.
        source: the path of a file on this machine; a list; or a `ray.data.Dataset`, every row of which has an id.
        results: as in `batch.run`.
        pipeline: called in each actor with the store that all of them share, returns the layers: ``lambda store:
            Pipeline(retry_jitter(5), rate_limited(rpm=500, store=store), timed("60s"))``. A limit that is not given the
            store holds for each actor alone. The usual one shares its limits.
        actors: how many ask.
        cpus: that Ray keeps free for each; 500 requests a second or so fill a whole one.
        address: of the cluster; `"local"` to start one on this machine for this run. None for the one that this process
            is connected to, else that of `RAY_ADDRESS`, else one that `ray start` started here, else a new one.
        store: the address of a Redis for the limits, if processes beside this run have the same ones. None to share
            them in an actor.
        pack: rows that an actor is given at a time.
        base_url: for a model; `OPENAI_BASE_URL` of this process by default, not of the actors' machines.
        api_key: for a model; `OPENAI_API_KEY` likewise.
        template: as in `batch.run`, and so are all below.
        argument: what a function is called with.
        parameters: for a model, further fields of every request.
        system: for a model, the system's message.
        endpoint: for a model, where prompts go.
        format: of the file.
        id_column: which column is a row's id.
        max_row: bytes of the longest row.
        resume: None to go on if nothing else changed, True in any case, False to begin anew.
        name: of the sessions.
        prices: as in `Session`.
        watch: a display.
        settings: as in `batch.run`, for each actor: `rows_under_way=1000` rows are begun and not over in each,
            `abort_over` and `patience` speak of what one has seen; the first that gives up ends the run for all.

    Raises:
        MissingExtra: Ray is not installed.
        BatchLocked, BatchMismatch: as in `batch.run`.
        BatchError: there is no cluster at *address*, or the run broke off; the same command goes on where it ended.
        TypeError, ValueError: an argument is wrong.

    A limit that is not given the store is a `PipelineWarning`.
    """
    checked = Settings.of(**settings)
    size = Size(_whole("actors", actors), _share("cpus", cpus))
    cluster.load()
    paths = Paths.of(results)
    if not is_dataset(source) and not isinstance(source, (str, os.PathLike, list, tuple)):
        raise TypeError(f"source must be a path, a list or a dataset of Ray Data, not {type(source).__name__}")
    if isinstance(pipeline, Layer) or not callable(pipeline):
        raise TypeError("pipeline must be a function of a store that returns layers: each actor makes its own")
    model_only = {"parameters": parameters, "system": system, "endpoint": endpoint}
    model_only |= {"base_url": base_url, "api_key": api_key}
    if isinstance(ask, str):
        model_only["base_url"] = base_url or os.environ.get("OPENAI_BASE_URL")
        model_only["api_key"] = api_key or os.environ.get("OPENAI_API_KEY")
    work = Work(ask, pipeline, template, argument, model_only, checked, name, prices, store)
    reading = Reading(local(source), format, id_column, max_row, _whole("pack", pack))
    _check_sendable(ask)
    opened = Rows(source, id_column) if is_dataset(source) else reading.open()
    try:
        target = work.target(MemoryStore())
        _warn_of_what_is_not_shared(target.function, actors)
        try:
            batch = RayBatch(target, opened, paths, work, reading, size, address, watch)
            return await batch.run(resume=resume)
        finally:
            await target.close()
    finally:
        opened.close()


def _warn_of_what_is_not_shared(function: Any, actors: int) -> None:
    if actors == 1:
        return
    for layer in layers_of(function):
        if isinstance(layer, (rate_limited, bounded)) and layer.settings().get("store") is None:
            warnings.warn(
                f"{type(layer).__name__} has no store: each of the {actors} actors has its limit for itself; write "
                f"{type(layer).__name__}(..., store=store) with what pipeline= is called with",
                PipelineWarning,
                stacklevel=3,
            )


def _check_sendable(ask: Any) -> None:
    """Refuse what Ray's own pickling would send to actors that cannot find it.

    Raises:
        BatchError: it cannot be sent.
    """
    if not isinstance(ask, str) and getattr(ask, "__module__", None) == "__main__" and hasattr(ask, "__wrapped__"):
        raise BatchError(
            f"{getattr(ask, '__name__', ask)} is decorated in the script itself, where actors cannot import it: put it "
            "into a module, or leave it undecorated and give pipeline= a function that returns the layers"
        )


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be an int of at least 1")
    if value < 1:
        raise ValueError(f"{name}={value!r} must be at least 1")
    return value


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} must be a number of CPUs such as 0.5")
    if not value >= 0:
        raise ValueError(f"{name}={value!r} must be a number of CPUs such as 0.5")
    return float(value)
