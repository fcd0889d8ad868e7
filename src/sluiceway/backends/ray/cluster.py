"""Ray itself: loaded on use, found or started, and left as it was."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BatchError
from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports to nobody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # and says nothing of accelerators
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # nor of the arguments of actors, which Ray Data keeps for restarts
}
"""The environment of a cluster of our own, where the user's does not say otherwise."""


def load() -> Any:
    """Return the module `ray` with `ray.data`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        with _quiet():
            importlib.import_module("ray.data")
            return importlib.import_module("ray")
    except ImportError:
        raise MissingExtra("running a batch on Ray", "ray") from None


@contextlib.contextmanager
def connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine, and undo what was done.

    Args:
        ray: the module.
        address: of the cluster; `"local"` to start one; None for the one that this process is connected to, else that
            of `RAY_ADDRESS`, else one that `ray start` has started on this machine, else a new one.

    Raises:
        BatchError: there is no cluster at *address*.
    """
    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as stack:
        with _handler_kept():
            if not _joined(ray, address):
                _start(ray, stack)
        stack.callback(ray.shutdown)
        yield


def _joined(ray: Any, address: str | None) -> bool:
    """Connect to a cluster that is there; return False if one is to be started."""
    given = address or os.environ.get("RAY_ADDRESS")
    if given == "local" or not (given or _started_here().exists()):
        return False
    try:
        with _quiet():
            ray.init(address=given, logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as error:
        if not given:  # what `ray start` has left is of a cluster that is no more
            return False
        raise BatchError(f"there is no Ray cluster at {given}: {error}") from error
    return True


def _started_here() -> Path:
    """Return where `ray start` writes down which cluster it has started; what another program started is its own."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")  # noqa: S108 - Ray's place


def _start(ray: Any, stack: contextlib.ExitStack) -> None:
    folder = tempfile.mkdtemp(prefix="ray-")  # a short name: sockets are made far below it
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    for name, value in {**_OURS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
        if name not in os.environ:
            os.environ[name] = value
            stack.callback(os.environ.pop, name, None)
    with _quiet():
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=folder,
        )


@contextlib.contextmanager
def _handler_kept() -> Iterator[None]:
    """Keep the program's own way of ending at SIGTERM: connecting puts Ray's in its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let pass what Ray warns of its own settings, which nobody here has touched."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@contextlib.contextmanager
def context(ray: Any) -> Iterator[Any]:
    """Yield a context of Ray Data that makes each row a block of its own, and says nothing on the terminal."""
    data = ray.data
    with _quiet():
        ours = data.DataContext.get_current().copy()
    ours.target_max_block_size = 1  # bytes: so a row, which is a pack, is a block, which is a task for an actor
    ours.enable_progress_bars = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with data.DataContext.current(ours):
            yield data
    finally:
        logger.setLevel(level)
