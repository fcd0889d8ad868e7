"""A real Jaeger on free ports of this machine, and its API; where there is none, the reason."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

CACHED = Path.home() / ".cache" / "sluiceway" / "bin" / "jaeger"
UI = Path.home() / ".cache" / "sluiceway" / "jaeger-ui"
WANTED = "no Jaeger: none on PATH and none built by `make jaeger` (which needs Go)"

# All in memory, and nothing but OTLP in and the API out; metrics of its own would take a fixed port.
CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
    logs: {{level: error}}
extensions:
  jaeger_storage:
    backends:
      memory: {{memory: {{max_traces: 20000}}}}
  jaeger_query:
    storage: {{traces: memory}}
    ui: {{assets_path: "{ui}"}}
    http: {{endpoint: "127.0.0.1:{api}"}}
    grpc: {{endpoint: "127.0.0.1:{api_grpc}"}}
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{http}"}}
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


def binary():
    """Return the path of a Jaeger; None if there is none."""
    found = shutil.which("jaeger")
    if found is None and os.access(CACHED, os.X_OK):
        found = str(CACHED)
    return found


def free_ports(count):
    with contextlib.ExitStack() as open_sockets:
        made = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in made:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in made]


@dataclass(frozen=True)
class Jaeger:
    """Where one listens: `otlp` over HTTP, `grpc`, and `api` for people and questions."""

    otlp: str
    grpc: str
    api: str

    def ask(self, path, **query):
        """Return the answer to `/api/...`; None where it knows nothing by that name."""
        url = f"{self.api}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def trace(self, trace_id, spans):
        """Return the trace of this id when it has so many *spans*."""
        found = None
        for _ in range(200):  # what was exported is searchable a moment later
            found = self.ask(f"/api/traces/{trace_id}")
            if found and len(found["data"][0]["spans"]) >= spans:
                return Trace(found["data"][0])
            time.sleep(0.05)
        raise AssertionError(f"{spans} spans were sent; Jaeger has {found and len(found['data'][0]['spans'])}")

    def traces(self, service, *, spans, most=5_000):
        """Return the traces of *service* when they have so many *spans* together."""
        found = []
        for _ in range(200):
            answer = self.ask("/api/traces", service=service, limit=most, lookback="1h")
            found = [Trace(each) for each in (answer or {"data": []})["data"]]
            if sum(len(trace.spans) for trace in found) >= spans:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{spans} spans were sent; Jaeger has {sum(len(trace.spans) for trace in found)}")


class Trace:
    """One trace as the API tells it; times in microseconds."""

    def __init__(self, told):
        self.id = told["traceID"]
        self.spans = sorted(told["spans"], key=lambda span: (span["startTime"], span["startTime"] + span["duration"]))

    @property
    def root(self):
        """The call."""
        (root,) = [span for span in self.spans if parent(span) is None]
        return root

    def named(self, name):
        (found,) = [span for span in self.spans if span["operationName"] == name]
        return found

    def names(self):
        """The children of the root, in the order of their starts."""
        return [span["operationName"] for span in self.children()]

    def children(self):
        return [span for span in self.spans if parent(span) == self.root["spanID"]]

    def orphans(self):
        """Spans whose parent is not there, and whatever Jaeger itself warns of."""
        ids = {span["spanID"] for span in self.spans}
        return [
            span["operationName"]
            for span in self.spans
            if (parent(span) is not None and parent(span) not in ids) or span.get("warnings")
        ]

    def critical_path(self):
        """Return the names of the root's children on the critical path, as Jaeger's UI finds it.

        From the end of the call backwards: the child that ended last, strictly before the one after it began.
        """
        path, before = [], None
        while True:
            ended = [span for span in self.children() if before is None or end(span) < before]
            if not ended:
                return path[::-1]
            last = max(ended, key=end)
            path.append(last["operationName"])
            before = last["startTime"]


def end(span):
    return span["startTime"] + span["duration"]


def parent(span):
    """The id of the span's parent; None for a root."""
    return next((each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"), None)


def links(span):
    """What the span is linked to, as (trace id, span id)."""
    return [(each["traceID"], each["spanID"]) for each in span["references"] if each["refType"] == "FOLLOWS_FROM"]


def tags(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


@contextlib.contextmanager
def running(folder, ui=None):
    """Run one; its configuration and log are written to *folder*.

    Raises:
        RuntimeError: it does not start.
    """
    http, grpc, api, api_grpc = free_ports(4)
    config = Path(folder) / "jaeger.yaml"
    log = Path(folder) / "jaeger.log"
    config.write_text(CONFIG.format(ui=ui or "", http=http, grpc=grpc, api=api, api_grpc=api_grpc))
    with log.open("w") as output:
        process = subprocess.Popen([binary(), "--config", str(config)], stdout=output, stderr=output)
        jaeger = Jaeger(f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}", f"http://127.0.0.1:{api}")
        try:
            _wait_for(jaeger, process, log)
            yield jaeger
        finally:
            process.kill()  # all is in memory, and a gentle end takes it ten seconds
            process.wait()


def _wait_for(jaeger, process, log):
    for _ in range(600):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            jaeger.ask("/api/services")
            return
        time.sleep(0.05)
    raise RuntimeError(f"Jaeger does not start:\n{log.read_text()[-2000:]}")
