"""What is asked about a row, and through which layers."""

from __future__ import annotations

from types import SimpleNamespace

import httpx2
import pytest
from openai import AsyncOpenAI

from sluiceway import Pipeline, bounded, rate_limited, retry_jitter
from sluiceway.batch import read_dead_letters, read_results, run
from sluiceway.batch.errors import BadRow, BatchError
from sluiceway.batch.target import Function, Model
from sluiceway.batch.templates import Template
from sluiceway.batch.usual import usual_pipeline
from sluiceway.binding import layers_of
from sluiceway.testing import completion


class Client:
    """An API with chats and embeddings that remembers what it was asked."""

    def __init__(self):
        self.asked = []

        async def chat(*, model, messages, max_tokens=None, extra_body=None):
            self.asked.append(
                {"model": model, "messages": messages, "max_tokens": max_tokens, "extra_body": extra_body}
            )
            return completion(f"answer of {model}")

        async def embed(*, model, input):
            self.asked.append({"model": model, "input": input})
            return SimpleNamespace(data=[SimpleNamespace(embedding=[0.5])])

        self.chat = SimpleNamespace(completions=SimpleNamespace(create=chat))
        self.embeddings = SimpleNamespace(create=embed)


async def ask(prompt):
    return prompt


def test_each_endpoint_gets_the_parameters_that_it_has():
    """Responses call the bound of an answer by another name, embeddings have neither words nor a temperature."""
    client = Client()
    client.responses = client.embeddings
    model = Model("m", None, None, client=client, parameters={"max_tokens": 7, "temperature": 0, "user": "u"})
    assert {"max_tokens": 7, "temperature": 0, "user": "u"}.items() <= sent(model, "chat").items()
    assert {"model": "m", "input": "x", "max_output_tokens": 7, "temperature": 0, "user": "u"} == sent(
        model, "responses"
    )
    assert {"model": "m", "input": "x", "user": "u"} == sent(model, "embeddings")


def sent(model, endpoint):
    """Return what is sent for a prompt, what the client's functions do not know as if they did."""
    model._endpoint = endpoint
    _, body = model.prepare("x")
    extra = body.pop("extra_body", {})
    return {**body, **extra}


def test_what_embeddings_do_not_take_is_refused():
    """Rather than refused by the provider, row by row."""
    with pytest.raises(ValueError, match="max_tokens is about answers in words"):
        Model("m", None, None, client=Client(), parameters={"max_tokens": 7}, endpoint="embeddings")


def names(function):
    return [layer.name for layer in layers_of(function)]


def test_a_function_without_layers_gets_the_usual_ones():
    """One with layers keeps them, and a pipeline stands around both."""
    assert ["retry_jitter", "bounded", "circuit_breaker", "timed"] == names(Function(ask, None, None).function)
    decorated = bounded(3)(ask)
    assert ["bounded"] == names(Function(decorated, None, None).function)
    assert ["retry_jitter", "bounded"] == names(Function(decorated, Pipeline(retry_jitter(2)), None).function)


@pytest.mark.parametrize(
    ("layers", "attempts"),
    [((), 5), ((retry_jitter(1),), 1), ((retry_jitter(3),), 3), ((retry_jitter(2), retry_jitter(3)), 6)],
)
def test_a_row_has_the_attempts_that_its_retries_allow(layers, attempts):
    """Five where there are none: the batch then repeats by itself."""
    assert attempts == Function(ask, Pipeline(*layers), None).attempts


def test_limits_are_those_of_the_layers():
    """The tightest of each, for displays and plans."""
    pipeline = Pipeline(rate_limited(rpm=600, tpm=5000), rate_limited(rpm=300, rpd=10_000))
    assert {"rpm": 300, "tpm": 5000} == Function(ask, pipeline, None).limits


def test_the_usual_pipeline_takes_further_limits():
    """And warns of nothing, for the batch waits out by itself what its breaker sees late."""
    layer = usual_pipeline(input_tpm=1000, policy="openai", concurrency=7).layers[1]
    assert ("rate_limited", 1000, 7) == (layer.name, layer.settings()["input_tpm"], layer.settings()["in_flight"])


async def test_a_model_is_asked_with_the_parameters_of_all():
    """A row's own body wins; what the client's method does not know goes along in `extra_body`."""
    client = Client()
    model = Model("m", Pipeline(), None, client=client, parameters={"max_tokens": 5, "top_k": 3})
    await model.ask(model.prepare({"prompt": "hi"}))
    body = {"model": "own", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "extra_body": {"a": 1}}
    await model.ask(model.prepare({"custom_id": "c", "body": body}))
    first, second = client.asked
    assert ("m", 5, {"top_k": 3}) == (first["model"], first["max_tokens"], first["extra_body"])
    assert ("own", 9, {"a": 1, "top_k": 3}) == (second["model"], second["max_tokens"], second["extra_body"])


def test_what_a_client_does_not_have_is_a_bad_row():
    """This one knows no `responses`."""
    model = Model("m", Pipeline(), None, client=Client())
    with pytest.raises(BadRow, match="no responses"):
        model.prepare({"input": "x"})


def test_an_extra_body_that_is_no_object_is_a_bad_row():
    """Also where nothing must go into it."""
    model = Model("m", Pipeline(), None, client=Client())
    body = {"messages": [{"role": "user", "content": "x"}], "extra_body": [1]}
    for more in ({}, {"foo": 1}):
        with pytest.raises(BadRow, match="extra_body must be an object, not one list"):
            model.prepare({"custom_id": "c", "body": body | more})


async def test_embeddings_are_lists_of_numbers(tmp_path):
    """Through the same layers and into the same results."""
    outcome = await run(
        "m", ["a", "b"], tmp_path / "o.jsonl", client=Client(), endpoint="embeddings", pipeline=Pipeline()
    )
    assert 2 == outcome.answered
    assert '"output":[0.5]' in (tmp_path / "o.jsonl").read_text()


async def test_the_whole_response_is_kept_if_asked_for(tmp_path):
    """Beside the output."""
    await run("m", ["a"], tmp_path / "o.jsonl", client=Client(), pipeline=Pipeline(), full_response=True)
    assert '"response":' in (tmp_path / "o.jsonl").read_text()


def test_settings_name_what_shapes_answers_and_show_no_text():
    """Another system's message or template is another batch; neither stands in the manifest."""
    one = Model("m", Pipeline(), Template("say {x}"), client=Client(), system="secret", parameters={"temperature": 0})
    two = Model("m", Pipeline(), Template("say {x}"), client=Client(), system="other", parameters={"temperature": 0})
    assert {"system"} == {name for name in one.settings if one.settings[name] != two.settings[name]}
    assert "secret" not in repr(one.settings)
    assert "say" not in repr(one.settings)


def test_without_a_key_only_a_server_of_ones_own_is_asked(monkeypatch):
    """Such servers want none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(BatchError, match="OPENAI_API_KEY"):
        Model("m", Pipeline(), None)
    assert "m" == Model("m", Pipeline(), None, base_url="http://127.0.0.1:9/v1").name


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Model("", None, None, client=Client()), ValueError),
        (lambda: Model("m", None, None, client=Client(), parameters={"stream": True}), ValueError),
        (lambda: Model("m", None, None, client=SimpleNamespace()), TypeError),
        (lambda: Model("m", None, None, client=Client(), parameters={"extra_body": 5, "foo": 1}), TypeError),
        (lambda: Function(ask, None, None, "all"), ValueError),
        (lambda: Function(names, None, None), TypeError),
    ],
)
def test_what_cannot_be_asked_is_refused(make, error):
    """When it is made."""
    with pytest.raises(error):
        make()


def test_a_generator_has_no_single_result():
    """Its answers would be many."""

    async def stream(prompt):
        yield prompt

    with pytest.raises(TypeError, match="no single result"):
        Function(stream, None, None)


def test_a_client_of_another_api_is_refused_by_name():
    """With what to do instead."""

    async def create():
        """Answer."""

    with pytest.raises(TypeError, match="SimpleNamespace must be an AsyncOpenAI or alike"):
        Model("m", None, None, client=SimpleNamespace(messages=SimpleNamespace(create=create)))


def saying(*responses):
    """Return openai's client of a provider that says so, the last one again and again."""
    left = list(responses)

    def respond(_):
        return left.pop(0) if len(left) > 1 else left[0]

    return AsyncOpenAI(
        api_key="k", max_retries=0, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    )


async def test_a_page_to_log_in_is_no_answer(tmp_path):
    """It came with a 200, and a whole batch was answered with it."""
    client = saying(httpx2.Response(200, text="<html>Log in</html>", headers={"content-type": "text/html"}))
    outcome = await run("m", ["a"] * 2, tmp_path / "o.jsonl", client=client, pipeline=Pipeline())
    assert (0, 2) == (outcome.answered, outcome.dead)
    letter = next(read_dead_letters(outcome.paths.dead))
    assert "sluiceway.NoAnswer" == letter.error.type
    assert "is the base URL right?" in letter.error.message


async def test_an_error_that_comes_as_an_answer_is_an_error(tmp_path):
    """Some say 200 and send it as the body; what could be repeated is."""
    wrong = {"error": {"code": 429, "message": "too fast"}}
    right = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}], "model": "m"}
    client = saying(httpx2.Response(200, json=wrong), httpx2.Response(200, json=right))
    outcome = await run("m", ["a"], tmp_path / "o.jsonl", client=client, pipeline=Pipeline())
    assert ["yes"] == [row.output for row in read_results(outcome.paths.results)]

    client = saying(httpx2.Response(200, json={"error": {"code": 400, "message": "no such tool"}}))
    outcome = await run("m", ["a"], tmp_path / "p.jsonl", client=client, pipeline=Pipeline())
    letter = next(read_dead_letters(outcome.paths.dead))
    assert (400, "the provider sent an answer without choices: no such tool") == (
        letter.error.status,
        letter.error.message,
    )
