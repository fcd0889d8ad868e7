"""Log lines: silent until asked, through the application's own logging, and never any content."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from reporting import Notes, Refuses, Retries, Waits
from sluiceway import observed, telemetry
from sluiceway.errors import CircuitOpen
from sluiceway.events import CircuitChanged, ErrorRateHigh
from sluiceway.layer import Pipeline
from sluiceway.testing.openai_shapes import completion
from spies import Passing, Stream


def failing(*errors):
    left = list(errors)

    async def ask(*args, **kwargs):
        if left:
            raise left.pop(0)
        return completion("a secret answer")

    return ask


@pytest.fixture
def structured():
    """Configure structlog, as an application does."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()])
    with capture_logs() as lines:
        yield lines


def levels(lines):
    return [(line["log_level"], line["event"]) for line in lines]


# ------------------------------------------------------------------ structlog


async def test_structlog_gets_the_lines_where_the_application_configured_it(structured):
    """DEBUG a phase and an attempt, WARNING a retry, INFO one line for the finished call."""
    await Pipeline(Waits(1.0), Retries(2.0), name="ask")(failing(OSError()))()
    assert levels(structured) == [
        ("debug", "bounded wait"),
        ("debug", "attempt error"),
        ("warning", "retry"),
        ("debug", "attempt ok"),
        ("info", "call ok"),
    ]
    finished = structured[-1]
    assert (finished["call"], finished["seconds"], finished["attempts"]) == ("ask", 3.0, 2)
    retry = structured[2]
    assert (retry["attempt"], retry["delay"], retry["cause"]) == (2, 2.0, "OSError")
    assert structured[0]["sluiceway.bounded.limit"] == 30


async def test_every_line_of_a_call_is_found_from_its_trace_call_and_session(structured, spans):
    """`trace_id`, `span_id`, `call_id` and `session_id` stand on each line, and are those of the call's span."""

    class Session:
        id = "nightly-1"

        drains = True

        def admit(self, call): ...

        def hear(self, event): ...

    telemetry.scopes.set((Session(),))
    await Pipeline(Waits(1.0), Retries(2.0), name="ask")(failing(OSError()))()
    call = spans.one("call ask")
    ids = {
        "trace_id": f"{call.context.trace_id:032x}",
        "span_id": f"{call.context.span_id:016x}",
        "call_id": call.attributes["sluiceway.call.id"],
        "session_id": "nightly-1",
    }
    assert [{name: line.get(name) for name in ids} for line in structured] == [ids] * 5


async def test_levels_of_the_application_are_kept():
    """Where structlog filters at WARNING, finished calls are not even listened to."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    listening = []

    class Looks(Passing):
        async def handle(self, call, proceed):
            listening.append(call.run.listening)
            return await proceed(call)

    with capture_logs() as lines:
        with pytest.raises(CircuitOpen):
            await Pipeline(Looks(), Refuses(), name="ask")(failing())()
        assert levels(lines) == [("warning", "call rejected")]
    assert listening == [False]


async def test_a_configuration_that_changes_is_followed(structured):
    """The logger is bound once per configuration, not once for ever."""
    ask = Pipeline(Passing(), name="ask")(failing())
    await ask()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    await ask()
    assert [event for level, event in levels(structured) if level == "info"] == ["call ok"]


STANDARD = structlog.stdlib.LoggerFactory()


@pytest.mark.parametrize(
    "settings",
    [
        {"wrapper_class": structlog.BoundLogger},
        {"wrapper_class": structlog.BoundLogger, "logger_factory": STANDARD},
        {"wrapper_class": structlog.stdlib.AsyncBoundLogger, "logger_factory": STANDARD},
        {"wrapper_class": structlog.stdlib.BoundLogger, "logger_factory": STANDARD},
        {"wrapper_class": structlog.make_filtering_bound_logger(logging.INFO)},
    ],
    ids=["generic", "generic over standard", "async", "standard", "filtering"],
)
@pytest.mark.parametrize("own", [False, True], ids=["configured", "a logger of one's own"])
async def test_every_kind_of_structlogs_loggers_gets_the_lines(settings, own, caplog, complaints):
    """Those that answer to every name, and those whose methods are coroutines, write too; what broke is told there."""
    caplog.set_level(logging.INFO)
    processors = [structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()]
    structlog.configure(processors=processors, **settings)

    def sink(event):
        raise ValueError("broken")

    with capture_logs() as lines:
        layer = observed(logger=structlog.get_logger()) if own else Passing()
        telemetry.listen(sink)
        await Pipeline(layer, name="ask")(failing())()
    told = [line for line in levels(lines) if line[0] != "debug"]
    assert told[-1] == ("info", "call ok")
    (broke,) = [line for line in lines if "sink raised and was passed over" in line["event"]]
    assert (broke["log_level"], "ValueError: broken" in broke["traceback"]) == ("error", True)
    assert caplog.messages == []
    assert complaints == []


async def test_what_broke_is_told_by_standard_logging_where_it_is_structlog(caplog):
    """A processor that raises loses its lines, and nothing else."""

    def processor(logger, method, line):
        raise ValueError("a broken processor")

    structlog.configure(processors=[processor])
    assert await Pipeline(Passing(), name="ask")(failing())()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "raised and was passed over" in caplog.text


async def test_structlog_is_never_configured_by_us():
    """An unconfigured structlog stays so: it prints DEBUG to stdout otherwise."""
    structlog.reset_defaults()
    await Pipeline(Passing(), name="ask")(failing())()
    assert structlog.is_configured() is False


def test_a_process_that_configures_nothing_hears_nothing():
    """No handler, no structlog: not a byte on stdout or stderr, warnings included, and structlog not imported."""
    code = """
import asyncio, sys
from sluiceway import circuit_breaker
import sluiceway.telemetry
async def ask(): raise OSError("x")
breaker = circuit_breaker()
ask = breaker(ask)
async def main():
    breaker.isolate()
    try: await ask()
    except Exception: pass
asyncio.run(main())
assert "structlog" not in sys.modules and "opentelemetry.sdk" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


# ------------------------------------------------------------------ standard logging


async def test_standard_logging_gets_the_lines_otherwise(info):
    """One line for a finished call, with its facts in the text and as attributes of the record."""
    await Pipeline(Waits(1.0), name="ask")(failing())()
    (record,) = info.records
    assert (record.name, record.levelname) == ("sluiceway", "INFO")
    assert record.message.startswith("call ok: call=ask seconds=1.000 attempts=1 call_id=")
    assert (record.call, record.attempts, record.seconds) == ("ask", 1, 1.0)


async def test_a_finished_call_is_one_line(info):
    """However much happened, INFO has one line a call; failed ones say the class of the error."""
    with pytest.raises(ConnectionResetError):
        await Pipeline(Passing(), name="ask")(failing(ConnectionResetError()))()
    stream = await Pipeline(Passing(), name="read")(_stream)()
    await stream.aclose()
    assert [(record.message.partition(":")[0], getattr(record, "error", None)) for record in info.records] == [
        ("call error", "ConnectionResetError"),
        ("call cancelled", "sluiceway.Abandoned"),
    ]


async def _stream():
    return Stream(3)


async def test_what_somebody_may_have_to_act_on_is_a_warning(caplog):
    """An opened circuit, a pause, retries of the SDK and a high error rate; a circuit that closes is not."""
    await Pipeline(Notes(), name="ask")(failing())()
    telemetry.publish(ErrorRateHigh(0.0, None, "nightly", 0.2, 100, 0.05))
    telemetry.publish(CircuitChanged(0.0, None, "circuit_breaker", "a key", "half_open", "closed", "3 successes"))
    telemetry.publish(CircuitChanged(0.0, None, "circuit_breaker", "a key", "closed", "isolated", "by hand"))
    assert [(record.levelname, record.message.partition(":")[0]) for record in caplog.records] == [
        ("WARNING", "circuit open"),
        ("WARNING", "limit paused"),
        ("WARNING", "the provider's SDK retries under our retries"),
        ("WARNING", "error rate high"),
        ("WARNING", "circuit isolated"),
    ]


async def test_a_warning_of_a_call_that_nobody_hears_still_names_its_trace(caplog, make_spans):
    """Also where the trace was sampled out, the ids lead from the line to the request it belongs to."""
    from opentelemetry.sdk.trace import sampling

    telemetry.configure(tracer_provider=make_spans(sampler=sampling.ALWAYS_OFF).provider)
    await Pipeline(Notes(), name="ask")(failing())()
    assert {len(record.trace_id) for record in caplog.records} == {32}
    assert len({record.call_id for record in caplog.records}) == 1


async def test_no_line_carries_content_or_a_key(caplog):
    """Arguments, answers, keys of layers and messages of foreign errors stay out of the log at every level."""
    caplog.set_level(logging.DEBUG, logger="sluiceway")
    await Pipeline(Notes(), Waits(1.0), Retries(1.0), name="ask")(failing(ValueError("a secret prompt")))(
        "a secret prompt", api_key="a secret key"
    )
    assert len(caplog.records) > 5
    assert "secret" not in " ".join(f"{record.message} {vars(record)}" for record in caplog.records)


async def test_logs_can_be_switched_off(caplog):
    """`configure(logs=False)` writes no line, not even a warning."""
    telemetry.configure(logs=False)
    caplog.set_level(logging.DEBUG, logger="sluiceway")
    await Pipeline(Notes(), name="ask")(failing())()
    assert caplog.records == []


async def test_without_spans_of_ours_the_applications_trace_is_named(info, make_spans):
    """Where we make no spans, a line leads to the span of the application around the call."""
    tracer = make_spans().tracer
    with tracer.start_as_current_span("request") as request:
        await Pipeline(Passing(), name="ask")(failing())()
    assert [record.span_id for record in info.records] == [f"{request.get_span_context().span_id:016x}"]


async def test_attributes_named_as_a_records_own_break_no_line(info):
    """A layer may name an attribute `message`: it stands in the text, and the record keeps its own."""
    info.set_level(logging.DEBUG, logger="sluiceway")
    await Pipeline(Waits(1.0, name="odd", message="odder"), name="ask")(failing())()
    assert "name=odd message=odder" in info.records[0].message
