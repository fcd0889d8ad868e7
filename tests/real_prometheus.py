"""A real Prometheus on loopback, for tests; they skip where none is installed."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

RECIPES = Path(__file__).parent.parent / "recipes" / "observability"


def installed(program):
    """Where *program* is; skips the test if it is nowhere."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on this machine: apt-get install prometheus")
    return found


class Prometheus:
    """What can be asked of a running server."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path, **query):
        """The `data` of an answer; None while the server does not answer."""
        return await asyncio.to_thread(self._get, f"{self.url}{path}?{urllib.parse.urlencode(query)}")

    def _get(self, url):
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # not ready yet
                return None
            raise AssertionError(error.read().decode()) from None
        except (urllib.error.URLError, ConnectionError):
            return None

    async def query(self, expression):
        """The samples of *expression* as of now."""
        data = await self.get("/api/v1/query", query=expression)
        return [] if data is None else data["result"]


@asynccontextmanager
async def scraping(target, folder, *, rules=RECIPES / "alerts.yml"):
    """Run a Prometheus that scrapes *target* (a host and port) each second and evaluates *rules*."""
    program = installed("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        json.dumps(  # JSON is YAML
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [{"job_name": "sluiceway", "static_configs": [{"targets": [target]}]}],
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        await process.wait()
