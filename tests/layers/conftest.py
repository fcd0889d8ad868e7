"""What the tests of layers share."""

from __future__ import annotations

import pytest

from sluiceway.running import switch


@pytest.fixture
def listen(monkeypatch):
    """Return a function that begins to hear all events of calls, and returns one that gives those of a kind.

    `detailed` is as while a span records; `listening` without it as in a session; neither as when nobody is there.
    """

    def start(*, listening=True, detailed=True):
        events = []

        def observe(run, call):
            run.sink = events.append
            run.listening = listening
            run.detailed = listening and detailed

        monkeypatch.setattr(switch, "observe", observe)
        return lambda kind: [event for event in events if isinstance(event, kind)]

    return start
