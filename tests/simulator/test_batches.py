"""Batches as a pure machine: their states by the time, what becomes of their requests, what fails them."""

import json

import pytest

from sluiceway.simulator.batch_input import read_requests
from sluiceway.simulator.batch_wire import batch_object, output_lines
from sluiceway.simulator.batches import Batches
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.files import Files
from sluiceway.simulator.service import Service

ENDPOINT = "/v1/chat/completions"


def task(number, **changes):
    """Return one line of a batch's input."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"{number:040d}"}]}
    return {"custom_id": f"row-{number}", "method": "POST", "url": ENDPOINT, "body": body} | changes


def lines(*tasks):
    """Return the content of an input file."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in tasks)


class Running:
    """A provider with one batch."""

    def __init__(self, *tasks, **settings):
        self.service = Service(Behaviour.of(seed=1, **settings), 0.0)
        self.batches = Batches(self.service)
        self.batch = self.more(*tasks)

    def more(self, *tasks, now=0.0):
        """Create a batch, and return its id."""
        stored = Files().add(lines(*tasks), "in.jsonl", "batch", 1_000)
        return self.batches.create(now, 1_000, stored, ENDPOINT, {"job": "a"}).id

    def at(self, now, identifier=None):
        """Return what describes the batch at *now*."""
        return batch_object(self.batches.find(now, identifier or self.batch), now)

    def written(self, now):
        """Return the lines of both files."""
        answered, other = output_lines(self.batches.find(now, self.batch), self.service.behaviour)
        return [[json.loads(line) for line in content.splitlines()] for content in (answered, other)]


def test_a_batch_passes_through_its_states_in_the_time_it_takes():
    """Validating, running, being written out, completed: a tenth, eight tenths and a tenth of its time."""
    running = Running(*map(task, range(8)), batch_time="100s")
    states = [running.at(now)["status"] for now in (0, 9, 10, 89, 90, 99, 100)]
    assert ["validating"] * 2 + ["in_progress"] * 2 + ["finalizing"] * 2 + ["completed"] == states
    counts = running.at(50)["request_counts"]
    assert {"total": 8, "completed": 4, "failed": 0} == counts
    assert {"job": "a"} == running.at(50)["metadata"]


def test_answers_stand_in_one_file_and_errors_in_the_other():
    """Each request is in exactly one of them, by its custom_id, and the ledger agrees."""
    running = Running(*map(task, range(200)), errors={500: 0.2})
    assert "completed" == running.at(0)["status"]
    answered, other = running.written(0)
    assert {f"row-{n}" for n in range(200)} == {line["custom_id"] for line in answered + other}
    assert {200} == {line["response"]["status_code"] for line in answered}
    assert {500} == {line["response"]["status_code"] for line in other}
    ledger = running.service.books.snapshot(0.0)
    assert (1, len(answered), len(other)) == (ledger.batches, ledger.batch_answered, ledger.batch_failed)
    assert (len(answered) * 10, len(answered) * 16) == (ledger.input_tokens, ledger.output_tokens)
    assert (0, 0) == (ledger.answered_twice, ledger.offered)
    assert "1, with" in str(ledger)


def test_an_answer_of_a_batch_is_what_the_endpoint_answers():
    """The body of a line is a chat completion with its usage."""
    answered, _ = Running(task(1), answer="It is {prompt}.").written(0)
    body = answered[0]["response"]["body"]
    assert f"It is {1:040d}." == body["choices"][0]["message"]["content"]
    assert 10 == body["usage"]["prompt_tokens"]


def test_what_does_not_run_in_time_expires():
    """The batch is then expired, and says so of each request that did not run."""
    running = Running(*map(task, range(100)), batch_expired=0.3)
    assert "expired" == running.at(0)["status"]
    answered, other = running.written(0)
    assert {"batch_expired"} == {line["error"]["code"] for line in other}
    assert 100 == len(answered) + len(other)
    assert 10 < len(other) < 60


def test_a_batch_that_is_cancelled_keeps_what_has_run():
    """The rest is said to be cancelled; a batch that is over cannot be cancelled any more."""
    running = Running(*map(task, range(8)), batch_time="100s")
    running.batches.cancel(50.0, running.batches.find(50.0, running.batch))
    assert ["cancelling", "cancelled"] == [running.at(now)["status"] for now in (50.0, 51.0)]
    answered, other = running.written(51.0)
    assert [f"row-{n}" for n in range(4)] == [line["custom_id"] for line in answered]
    assert {"batch_cancelled"} == {line["error"]["code"] for line in other}
    done = Running(task(0))
    done.batches.cancel(5.0, done.batches.find(5.0, done.batch))
    assert "completed" == done.at(6.0)["status"]


def test_the_same_request_again_may_fare_better():
    """A request that failed in one batch meets another fate in the next, and an answer twice is counted."""
    running = Running(*map(task, range(50)), errors={503: 0.5})
    first, _ = running.written(0)
    running.batch = running.more(*map(task, range(50)))
    second, _ = running.written(0)
    assert {line["custom_id"] for line in first} != {line["custom_id"] for line in second}
    both = {line["custom_id"] for line in first} & {line["custom_id"] for line in second}
    assert len(both) == running.service.books.snapshot(0.0).answered_twice


def test_too_many_enqueued_tokens_fail_the_batch_after_it_was_created():
    """The prompts of all batches under way count; when one is over there is room again."""
    running = Running(*map(task, range(6)), batch_time="100s", batch_enqueued_tokens=100)
    late = running.more(*map(task, range(6)), now=1.0)
    assert "validating" == running.at(2.0, late)["status"]
    failed = running.at(20.0, late)
    assert ("failed", "token_limit_exceeded") == (failed["status"], failed["errors"]["data"][0]["code"])
    again = running.more(*map(task, range(6)), now=101.0)
    assert "completed" == running.at(201.0, again)["status"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"[]", "invalid_request"),
        (json.dumps(task(1, custom_id="")).encode(), "missing_required_parameter"),
        (json.dumps(task(0)).encode(), "duplicate_custom_id"),
        (json.dumps(task(1, method="GET")).encode(), "invalid_method"),
        (json.dumps(task(1, url="/v1/embeddings")).encode(), "mismatched_endpoint"),
    ],
)
def test_a_line_that_makes_no_sense_fails_the_batch(line, code):
    """With its number and a code."""
    requests, problems = read_requests(lines(task(0)) + line, ENDPOINT, 0.25)
    assert (1, [(code, 2)]) == (len(requests), [(each.code, each.line) for each in problems])


def test_an_input_is_not_empty_and_has_no_more_than_fifty_thousand_requests():
    """Either fails the batch as a whole."""
    assert "empty_file" == read_requests(b"\n\n", ENDPOINT, 0.25)[1][0].code
    assert "too_many_tasks" == read_requests(b"{}\n" * 50_001, ENDPOINT, 0.25)[1][0].code


@pytest.mark.parametrize("body", [{"model": "m"}, task(1)["body"] | {"stream": True}])
def test_a_body_that_the_endpoint_does_not_take_fails_alone(body):
    """As a 400 in the error file, while the batch completes."""
    running = Running(task(0), task(1, body=body))
    answered, other = running.written(0)
    assert (["row-0"], [400]) == (
        [line["custom_id"] for line in answered],
        [line["response"]["status_code"] for line in other],
    )
    assert "completed" == running.at(0)["status"]
