"""`sluiceway.batch.run` and `retry_dead`: a source in, results out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sluiceway.batch.one_run import Batch
from sluiceway.batch.paths import Paths
from sluiceway.batch.retrying_dead import DeadRows
from sluiceway.batch.settings import Settings
from sluiceway.batch.sources import open_source
from sluiceway.batch.sources.opening import MAX_ROW
from sluiceway.batch.target import Function, Model, Target
from sluiceway.batch.templates import Template
from sluiceway.functions import require_plain

if TYPE_CHECKING:
    import contextlib
    import os
    from collections.abc import Awaitable, Callable, Mapping

    from sluiceway.batch.outcome import BatchRun
    from sluiceway.batch.progress import Progress
    from sluiceway.batch.questions import Endpoint
    from sluiceway.batch.sources.opening import AnySource
    from sluiceway.batch.target import Bind
    from sluiceway.events import ErrorRateHigh
    from sluiceway.providers.prices import PriceTable


async def run(
    ask: Callable[[Any], Awaitable[Any]] | str | Target,
    source: AnySource,
    results: str | os.PathLike[str],
    *,
    pipeline: Bind | None = None,
    template: str | None = None,
    argument: Literal["prompt", "row"] = "prompt",
    client: Any = None,
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
    on_alert: Callable[[ErrorRateHigh], None] | None = None,
    watch: Callable[[Callable[[], Progress]], contextlib.AbstractAsyncContextManager[Any]] | None = None,
    **settings: Any,
) -> BatchRun:
    """Ask about every row of *source*, write the answers to *results*, and return what the run came to.

    ``await batch.run("gpt-4o-mini", "prompts.jsonl", "answers.jsonl", pipeline=chat)``. Rows are read as there is room
    and answers are written as they come; memory does not grow with the rows, but for some 20 bytes of each. Every
    answer is with the operating system before it counts as done: whatever kills the process, the next run asks only
    what is missing. What cannot be answered goes to the dead letters, `answers.dead.jsonl`. Behind an open circuit,
    over the retry budget and in an outage rows wait, reading pauses, and no attempt is spent.

    Args:
        ask: an async function of one argument, with layers of its own or without; or the name of a model behind an
            OpenAI-compatible API.
        source: the path of a file (JSONL, CSV, TSV, Parquet, text), an iterable or an async iterable.
        results: the path of the JSONL file of answers; a folder stands for `results.jsonl` in it.
        pipeline: layers around each call. None for the function's own; where it has none, and for a model,
            `usual_pipeline()`.
        template: makes the prompt of columns: ``"Summarize: {text}"``.
        argument: what a function is called with: `"prompt"` for the row's prompt, messages or input, whichever it has,
            else the row; `"row"` for the whole row.
        client: for a model, an `AsyncOpenAI` or alike; None for our own, closed at the end.
        base_url: of our own client; `OPENAI_BASE_URL` by default.
        api_key: of our own client; `OPENAI_API_KEY` by default.
        parameters: for a model, further fields of every request: ``{"temperature": 0, "max_tokens": 200}``.
        system: for a model, what stands before every prompt as the system's message.
        endpoint: for a model, where prompts go: `"chat"`, `"responses"` or `"embeddings"`.
        format: of the file, where its name does not tell.
        id_column: which column is a row's id; in a source without any ids it is the row's number from 0.
        max_row: bytes of the longest row of a file that is read; a longer one is a dead letter.
        resume: None to go on if source and settings are those of before; True in any case; False to begin anew, the
            files of before being moved aside.
        name: of the session, in spans and logs.
        prices: as in `Session`.
        on_alert: told when the error rate of the last minute becomes too high.
        watch: a display: called with a function that returns a `Progress`, it is entered around the run.
        settings: `rows_under_way=None`: rows begun and not over, at most, those that wait in layers included; twice the
            places of the pipeline's `bounded`, or 1000 without one.
            `attempts`: of a row, by default as its retries allow. `fsync="never"`: `"always"`, a number of rows or a
            duration; see `Durability`. `drain="60s"`: what calls in flight get to finish when the run ends early.
            `patience="30m"`: without any answer, while rows fail, until it gives up. `abort_over=0.5`: the share of
            dead rows among the last hundred that ends it; `alert_over=0.05`: of calls that fail in the last minute.
            `full_response=False`: keep the whole response. `disk_patience="1m"`: to wait for room on a full disk.

    SIGTERM and SIGINT end it gracefully, a second one at once, unless the program handles SIGTERM itself. A
    cancellation gives up what is in flight and is raised.

    Raises:
        BatchLocked: another run writes these results.
        BatchMismatch: they were made from another source or with other settings.
        BatchError: the source cannot be read, or the results cannot be written.
        TypeError, ValueError: an argument is wrong.
        MissingExtra: a Parquet file, and pyarrow is not installed.
    """
    if on_alert is not None:
        require_plain(on_alert, "on_alert")
    checked = Settings.of(**settings)
    paths = Paths.of(results)
    filled = None if template is None else Template(template)
    opened = open_source(source, format=format, id_column=id_column, max_row=max_row)
    try:
        model_only = {"client": client, "base_url": base_url, "api_key": api_key, "parameters": parameters}
        model_only |= {"system": system, "endpoint": endpoint}
        target = target_of(ask, pipeline, filled, argument, model_only)
        try:
            return await Batch(target, opened, paths, checked, name, prices, on_alert, watch).run(resume=resume)
        finally:
            await target.close()
    finally:
        opened.close()


async def retry_dead(
    ask: Callable[[Any], Awaitable[Any]] | str | Target,
    results: str | os.PathLike[str],
    *,
    pipeline: Bind | None = None,
    template: str | None = None,
    argument: Literal["prompt", "row"] = "prompt",
    client: Any = None,
    base_url: str | None = None,
    api_key: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    system: str | None = None,
    endpoint: Endpoint | None = None,
    name: str = "batch",
    prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None,
    on_alert: Callable[[ErrorRateHigh], None] | None = None,
    watch: Callable[[Callable[[], Progress]], contextlib.AbstractAsyncContextManager[Any]] | None = None,
    **settings: Any,
) -> BatchRun:
    """Ask again about the dead letters of *results*, and return what that came to.

    Answers go to the results; what fails again stays among the dead letters with its new error. Rows that could not be
    read in the first place stay as they are: correct them in the source, and run that. Settings may differ from those
    of before, as a larger `max_tokens` does, but what made prompts of rows must not be left out. Columns that JSON has
    no word for, such as dates, are text now. Arguments and errors are those of `run`.

    Raises:
        BatchError: there are no dead letters.
        BatchMismatch: there was a template or a system's message before and is none, or another endpoint or argument.
    """
    if on_alert is not None:
        require_plain(on_alert, "on_alert")
    checked = Settings.of(**settings)
    paths = Paths.of(results)
    source = DeadRows(paths.dead)
    model_only = {"client": client, "base_url": base_url, "api_key": api_key, "parameters": parameters}
    model_only |= {"system": system, "endpoint": endpoint}
    target = target_of(ask, pipeline, None if template is None else Template(template), argument, model_only)
    try:
        return await Batch(target, source, paths, checked, name, prices, on_alert, watch).run_again()
    finally:
        await target.close()


def target_of(
    ask: Any, pipeline: Bind | None, template: Template | None, argument: Any, model_only: Mapping[str, Any]
) -> Target:
    """Return what is asked: the function or model *ask*.

    Raises:
        TypeError: it is neither; or it is a function, and something is given that is only for models.
    """
    if isinstance(ask, Target):
        return ask
    if isinstance(ask, str):
        return Model(ask, pipeline, template, **model_only)
    given = [name for name, value in model_only.items() if value is not None]
    if given:
        raise TypeError(f"{given[0]}= is for a model's name, not for a function: let the function see to it")
    return Function(ask, pipeline, template, argument)
