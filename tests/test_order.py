"""The order of layers: what is wrong, what is unwise and said once, and what is as it should be."""

from __future__ import annotations

import warnings

import pytest

from sluiceway import Deployment, bounded, circuit_breaker, rate_limited, retry_jitter, routed, timed
from sluiceway.describe import describe
from sluiceway.layer import Layer, Pipeline
from sluiceway.order import PipelineWarning, Role, amplification, check
from spies import Passing


class fallback(Layer):
    role = Role.REPLACE

    async def handle(self, call, proceed):
        return await proceed(call)


class cached(Layer):
    role = Role.SPARE

    async def handle(self, call, proceed):
        return await proceed(call)


class hedged(Layer):
    role = Role.REPEAT
    attempts = 2

    async def handle(self, call, proceed):
        return await proceed(call)


def tenant(call):
    return call.hints.tenant


async def ask():
    pass


RECOMMENDED = (
    "fallback()",
    "timed('60s')",
    "retry_jitter(attempts=5)",
    "hedged()",
    "bounded(30)",
    "rate_limited(rpm=500)",
    "circuit_breaker()",
    "timed('20s')",
)
UNWISE = {
    "a bound outside a retry": (
        "bounded(1), retry_jitter()",
        "bounded stands outside retry_jitter, so that further attempts run without a permit",
    ),
    "a rate limit outside a retry": ("rate_limited(rps=1), retry_jitter()", "rate_limited stands outside retry_jitter"),
    "a bound outside a hedge": ("bounded(1), hedged()", "bounded stands outside hedged"),
    "an attempt's limit above the total": (
        "timed(5), timed('7s')",
        r"the inner timed\(7\) can never fire: the outer timed\(5\) ends first",
    ),
    "a fallback inside a retry": (
        "retry_jitter(), fallback()",
        "fallback stands inside retry_jitter, so that every attempt goes through all alternatives",
    ),
    "a breaker outside a bound": (
        "circuit_breaker(), bounded(1)",
        "circuit_breaker stands outside bounded, so that calls which queue already still go to a provider",
    ),
    "a breaker outside a rate limit": ("circuit_breaker(), rate_limited(rps=1)", "circuit_breaker stands outside rate"),
    "a breaker's window below two attempts": (
        "circuit_breaker(window=60), timed(40)",
        r"the window of circuit_breaker \(60 s\) is shorter than two attempt timeouts \(40 s each\)",
    ),
    "an unkeyed bound around a keyed rate limit": (
        "bounded(1), rate_limited(rps=1, by=tenant)",
        "bounded has no key and stands around rate_limited, which has one",
    ),
    "a breaker outside a retry": (
        "circuit_breaker(), retry_jitter()",
        "circuit_breaker stands outside retry_jitter, so that it counts calls and not attempts",
    ),
    "a rate limit outside a bound": (
        "rate_limited(rps=1), bounded(1)",
        "rate_limited stands outside bounded, so that a permit is taken long before its request leaves",
    ),
    "a cache inside a rate limit": (
        "rate_limited(rps=1), cached()",
        "cached stands inside rate_limited, so that what needs no provider waits for a permit",
    ),
    "an attempt's limit around a queue": (
        "retry_jitter(), timed(5), bounded(1)",
        r"timed\(5\) stands between retry_jitter and bounded, so that waiting for a permit uses up an attempt's time",
    ),
}
WISE = {
    "a total above an attempt's limit": "timed(60), timed(20)",
    "equal limits": "timed(60), timed(60)",
    "a limit that only measures": "timed(5), timed()",
    "a limit for items only": "timed(5), timed(idle=9)",
    "a retry outside its waiting layers": "retry_jitter(), bounded(1), rate_limited(rps=1)",
    "a fallback outside a retry": "fallback(), retry_jitter()",
    "a breaker inside": "bounded(1), rate_limited(rps=1), circuit_breaker()",
    "a breaker with a total outside": "timed(600), circuit_breaker(window=60)",
    "a window of two attempts": "circuit_breaker(window=60), timed(30)",
    "both keyed": "bounded(1, by=tenant), rate_limited(rps=1, by=tenant)",
    "a key on the bound only": "bounded(1, by=tenant), rate_limited(rps=1)",
    "a total around a queue": "timed(60), retry_jitter(), bounded(1)",
    "a clock that only measures around a queue": "retry_jitter(), timed(), bounded(1)",
    "a cache outside": "cached(), retry_jitter(), bounded(1)",
    "unknown layers anywhere": "Passing(), bounded(1), Passing()",
}


def layers_in(text):
    """Make new layers of *text*, outermost first."""
    return eval(f"[{text}]")


def said(caught):
    return [str(warning.message) for warning in caught if warning.category is PipelineWarning]


def stacked(layers, function=ask):
    for layer in reversed(layers):
        function = layer(function)
    return function


# ------------------------------------------------------------------ what is said, and how often


@pytest.mark.parametrize("case", UNWISE)
@pytest.mark.parametrize("extra", ["", "Passing(), "], ids=["alone", "with another layer outside"])
def test_an_unwise_order_is_said_once_when_decorators_are_stacked(case, extra):
    """The line that completes it warns, with the function's name; the lines after it do not say it again."""
    text, says = UNWISE[case]
    layers = layers_in(f"{extra}{text}, Passing()")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stacked(layers)
    assert 1 == len(said(caught))
    with pytest.raises(PipelineWarning, match=rf"^ask: {says}"):
        raise caught[0].message


@pytest.mark.parametrize("case", UNWISE)
def test_an_unwise_order_is_said_once_by_a_pipeline_and_not_again_when_it_is_used(case):
    """Building it warns, with its name; decorating with it, nesting it and wrapping calls add nothing."""
    text, says = UNWISE[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline = Pipeline(*layers_in(text), name="chat")
        pipeline(ask)
        pipeline(Passing()(ask))
        Pipeline(pipeline, Passing())
    assert 1 == len(said(caught))
    with pytest.raises(PipelineWarning, match=rf"^chat: {says}"):
        raise caught[0].message


@pytest.mark.parametrize("case", UNWISE)
def test_what_only_two_pipelines_together_make_unwise_is_said_where_they_meet(case):
    """An outer pipeline in front of an inner one, or of a bound function, warns of what neither has alone."""
    text, says = UNWISE[case]
    *outer, inner = layers_in(text)
    with pytest.warns(PipelineWarning, match=says):
        Pipeline(Pipeline(*outer), Pipeline(inner))
    with pytest.warns(PipelineWarning, match=rf"^ask: {says}"):
        Pipeline(*outer)(inner(ask))


@pytest.mark.parametrize("case", WISE)
def test_a_wise_order_is_not_talked_about(case):
    """Neither stacking nor a pipeline warns."""
    assert [] == check(layers_in(WISE[case]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stacked(layers_in(WISE[case]))
        Pipeline(*layers_in(WISE[case]))


def test_the_recommended_order_is_not_talked_about():
    """All layers in their recommended order, stacked or in a pipeline, are quiet."""
    text = ", ".join(RECOMMENDED)
    assert [] == check(layers_in(text))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stacked(layers_in(text))
        Pipeline(*layers_in(text))


def test_the_reverse_of_the_recommended_order_is_warned_of_with_a_sentence_for_each_pair():
    """Every pair that costs something is named; nothing is said twice."""
    findings = check(list(reversed(layers_in(", ".join(RECOMMENDED)))))
    assert len(set(findings)) == len(findings)
    for says in (
        "rate_limited stands outside retry_jitter",
        "bounded stands outside retry_jitter",
        "bounded stands outside hedged",
        "fallback stands inside retry_jitter",
        "circuit_breaker stands outside bounded",
        "circuit_breaker stands outside rate_limited",
        "the inner timed(60) can never fire",
    ):
        assert 1 == len([finding for finding in findings if finding.startswith(says)])


def test_the_layers_of_a_deployment_stand_where_it_does():
    """Retries inside `routed` repeat past its deployments' limits, which is said once; outside they do not."""
    deployments = [Deployment(name, layers=[rate_limited(rpm=60), circuit_breaker()]) for name in "ab"]
    inside = check([routed(*deployments), retry_jitter()])
    assert ["rate_limited stands outside retry_jitter", "circuit_breaker stands outside retry_jitter"] == [
        finding.partition(",")[0] for finding in inside
    ]
    assert [] == check([retry_jitter(), routed(*deployments)])
    assert [] == check([rate_limited(rpm=60), routed(Deployment("a", layers=[bounded(1)]))])
    (breaker,) = check([circuit_breaker(), routed(Deployment("a", layers=[bounded(1)]), Deployment("b"))])
    assert "circuit_breaker stands outside routed, whose deployments have queues of their own" in breaker
    assert [] == check([circuit_breaker(), routed(Deployment("a"), Deployment("b"))])
    nested = routed(Deployment("c", layers=[routed(*deployments)]), Deployment("d"))
    assert inside == check([nested, retry_jitter()])


def test_an_object_of_a_deployment_that_stands_inside_it_too_is_the_error():
    """A call by that way would take from one limit twice; two deployments may share it."""
    shared = rate_limited(rpm=60)
    both = routed(Deployment("a", layers=[shared]), Deployment("b", layers=[shared]))
    assert [] == check([both])
    with pytest.raises(ValueError, match="the same rate_limited object stands twice"):
        check([both, shared])


def test_equal_findings_are_one():
    """Two bounds outside one retry are said in one sentence."""
    assert 1 == len(check(layers_in("bounded(1), bounded(2), retry_jitter()")))


@pytest.mark.parametrize("kind", [lambda f: f, classmethod, staticmethod], ids=["function", "classmethod", "static"])
def test_a_warning_points_at_the_line_that_completes_the_order(kind):
    """The decorator's own line, in the user's file, whatever is decorated."""
    inner = retry_jitter()(kind(ask))
    with pytest.warns(PipelineWarning) as caught:
        bounded(1)(inner)
    assert __file__ == caught[0].filename
    with pytest.warns(PipelineWarning) as caught:
        Pipeline(bounded(1), retry_jitter())
    assert __file__ == caught[0].filename
    with pytest.warns(PipelineWarning) as caught:
        Pipeline(bounded(1))(inner)
    assert __file__ == caught[0].filename


def test_a_pipelines_findings_are_in_its_description_too():
    """`describe` shows what was warned of."""
    with pytest.warns(PipelineWarning):
        bound = stacked(layers_in("bounded(1), retry_jitter()"))
    assert tuple(check(layers_in("bounded(1), retry_jitter()"))) == describe(bound).warnings


# ------------------------------------------------------------------ the one error


def test_the_same_stateful_object_twice_is_the_one_error():
    """A call would take from one limit twice; the sentence says what to do."""
    for layer in (bounded(1), rate_limited(rps=1), circuit_breaker(), retry_jitter()):
        with pytest.raises(ValueError, match=rf"the same {layer.name} object stands twice .* make a second object"):
            check([layer, Passing(), layer])
    assert [] == check([twice := timed(5), twice])
    assert [] == check([bounded(1), bounded(1)])


# ------------------------------------------------------------------ amplification


@pytest.mark.parametrize(
    ("text", "attempts"),
    [
        ("", 1),
        ("bounded(1), timed(5)", 1),
        ("retry_jitter(attempts=5)", 5),
        ("retry_jitter(attempts=5), hedged()", 10),
        ("retry_jitter(attempts=3), bounded(1), retry_jitter(attempts=2)", 6),
    ],
)
@pytest.mark.filterwarnings("ignore::sluiceway.PipelineWarning")
def test_attempts_multiply(text, attempts):
    """The most attempts of one call are the product over the layers that repeat."""
    layers = layers_in(text)
    assert attempts == amplification(layers) == Pipeline(*layers).attempts
