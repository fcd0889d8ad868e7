"""A Redis of the test's own: on a free port, keeping nothing on disk, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
WHY_NOT = "no redis-server or valkey-server on PATH: apt-get install redis-server"

needs_redis = pytest.mark.skipif(SERVER is None, reason=WHY_NOT)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealRedis:
    """A server in a process of its own; it can be stopped, started again and made slow to answer."""

    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process = None
        self._directory = tempfile.TemporaryDirectory(prefix="sluiceway-redis-")

    def start(self):
        keeps_nothing = ("--save", "", "--appendonly", "no", "--dir", self._directory.name)
        command = (SERVER, "--port", str(self.port), "--bind", "127.0.0.1", *keeps_nothing)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as line:
                line.sendall(b"PING\r\n")
                if line.recv(16).startswith(b"+PONG"):
                    return self
            if self._process.poll() is not None:
                raise RuntimeError(f"{SERVER} ended with {self._process.returncode}")
            time.sleep(0.05)
        raise RuntimeError(f"{SERVER} does not answer")

    def stop(self):
        """Kill it as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self):
        """Let it keep its connections and answer nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()
        self._directory.cleanup()
