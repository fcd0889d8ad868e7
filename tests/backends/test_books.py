"""The books of both stores answer alike: in memory, and as Lua in Redis."""

import asyncio
import itertools

import pytest

from sluiceway.backends.memory import MemoryStore
from sluiceway.backends.redis import RedisStore

BUCKET = [0, 100.0, 1.0, 50.0, 0.0, 0.0]  # 100 a second, 50 at once
SLOW = [0, 60.0, 60.0, 50.0, 0.0, 0.0]  # one a second, so that nothing much grows while a test runs
TOKENS = [0, 60_000.0, 60.0, 900.0, 0.0, 0.0]
WINDOW = [1, 10.0, 1.0, 0.001, 0.1, 0.05]  # 10 in a second, paced
DAY = [1, 5.0, 86_400.0, 60.0, 0.0, 0.0]  # 5 a day, counted
prefixes = itertools.count()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.real)])
async def ask(request):
    """Ask the book of a kind as some worker; the same book within one test."""
    if request.param == "memory":
        store = MemoryStore(prefix="books")
    else:
        store = RedisStore(request.getfixturevalue("redis_server").url, prefix=f"books-{next(prefixes)}")
    line = store.line(asyncio.get_running_loop())

    async def ask(kind, worker="a", **question):
        return await store.send(line, kind, f"{{{store.prefix}}}:{kind}", {"id": worker, **question})

    yield ask
    await store.disconnect(line)


def rate(ask, worker="a", calls=(), specs=(BUCKET,), **more):
    asked = {
        "specs": specs, "lag": 0.0, "calls": calls, "must": True, "more": [], "held": [0.0 for _ in specs],
        "names": [str(i) for i in range(len(specs))], "changes": [], "learn": [], "pause": 0.0, "resume": False,
        "used": [], "horizon": 0.1, "bye": False,
    }  # fmt: skip
    return ask("rate", worker, **(asked | more))


def waits(answer):
    """Return the seconds that each of the granted calls is to wait."""
    return [wait for count, wait, _ in answer["grants"] or () for _ in range(int(count))]


def slots(answer):
    """Return the same as times of the store, which are the same however long a test took in between."""
    return [answer["now"] + wait for wait in waits(answer)]


# ------------------------------------------------------------------ rates


async def test_a_full_bucket_grants_its_burst_and_a_block_at_once(ask):
    """50 are there and 10 come within the tenth of a second that may be promised: 60 of 100."""
    given = waits(await rate(ask, calls=[[100, [1.0]]]))
    assert 60 == len(given)
    assert [0.0] * 50 == pytest.approx(given[:50], abs=0.01)
    assert [0.01 * i for i in range(1, 11)] == pytest.approx(given[50:], abs=0.01)


async def test_who_comes_later_is_promised_a_later_time(ask):
    """Nobody has to ask again: the slots of two workers do not overlap."""
    last = slots(await rate(ask, "a", calls=[[60, [1.0]]]))[-1]
    later = slots(await rate(ask, "b", calls=[[5, [1.0]]]))
    assert later[0] >= last + 0.0099
    assert [0.01] * 4 == pytest.approx([b - a for a, b in itertools.pairwise(later)], abs=0.002)


async def test_no_worker_may_hold_more_than_its_share_but_one_call_always(ask):
    """With the bucket empty and two who wait, each is promised half of what comes within the horizon."""
    await rate(ask, "a", calls=[[60, [1.0]]])
    assert 5 <= len(waits(await rate(ask, "b", calls=[[60, [1.0]]]))) < 20
    assert 1 == len(waits(await rate(ask, "b", calls=[[60, [1.0]]], held=[99.0])))
    assert [] == waits(await rate(ask, "b", calls=[[60, [1.0]]], held=[99.0], must=False))


async def test_without_blocks_each_call_is_promised_alone(ask):
    """A horizon of 0."""
    assert 1 == len(waits(await rate(ask, calls=[[10, [1.0]]], horizon=0.0)))


async def test_requests_and_tokens_are_promised_together(ask):
    """The slot is that of the scarcer of the two, and what does not fit takes nothing."""
    specs = [BUCKET, TOKENS]
    answer = await rate(ask, calls=[[2, [1.0, 900.0]]], specs=specs)
    assert [0.0] == pytest.approx(waits(answer), abs=0.01)
    assert [49.0, 0.0] == pytest.approx(answer["levels"], abs=1)
    then = slots(await rate(ask, calls=[[2, [1.0, 900.0]]], specs=specs))
    assert [answer["now"] + 0.9] == pytest.approx(then, abs=0.01)


async def test_a_cost_above_the_bucket_waits_until_it_is_full_and_leaves_a_debt(ask):
    """2,000 tokens pass where 900 fit, and the next one pays for it."""
    answer = await rate(ask, calls=[[1, [2_000.0]]], specs=[TOKENS])
    assert [0.0] == pytest.approx(waits(answer), abs=0.01)
    assert [-1_100.0] == pytest.approx(answer["levels"], abs=100)
    then = slots(await rate(ask, calls=[[1, [100.0]]], specs=[TOKENS]))
    assert [answer["now"] + 1.2] == pytest.approx(then, abs=0.01)


async def test_what_comes_back_is_there_for_others_and_a_debt_delays_them(ask):
    """Returned and settled amounts reach the level, up to the bucket's capacity."""
    await rate(ask, calls=[[50, [1.0]]], specs=[SLOW])
    back = await rate(ask, changes=[[0.0, [-20.0]]], specs=[SLOW])
    assert [20.0] == pytest.approx(back["levels"], abs=2)
    debt = await rate(ask, changes=[[0.0, [70.0]]], specs=[SLOW])
    assert [-50.0] == pytest.approx(debt["levels"], abs=3)
    assert [50.0] == pytest.approx((await rate(ask, changes=[[0.0, [-500.0]]], specs=[SLOW]))["levels"])


async def test_a_window_never_holds_more_than_its_limit(ask):
    """Ten in a second, each 0.1 s after the one before, and the next when the first has left."""
    given = []
    for held in range(12):
        answer = await rate(ask, calls=[[1, [1.0]]], specs=[WINDOW], held=[float(held)])
        given += [answer["now"] + wait for wait in waits(answer)]
    assert all(b - a >= 0.04 for a, b in itertools.pairwise(given))
    assert all(b - a >= 0.999 for a, b in zip(given, given[10:], strict=False))


async def test_a_limit_of_a_day_is_counted_and_not_spread(ask):
    """Five at once, the sixth not within sight: ask again shortly before its time."""
    answer = await rate(ask, calls=[[6, [1.0]]], specs=[DAY], horizon=1.0)
    assert 5 == len(waits(answer))
    answer = await rate(ask, calls=[[1, [1.0]]], specs=[DAY], held=[5.0])
    assert [] == waits(answer)
    assert 86_370 == pytest.approx(answer["again"], abs=61)


async def test_what_a_window_gets_back_is_there_for_others(ask):
    """A refund corrects the entry of its time, or those before it."""
    answer = await rate(ask, calls=[[5, [1.0]]], specs=[DAY], horizon=1.0)
    back = await rate(ask, specs=[DAY], changes=[[answer["now"], [-3.0]]])
    assert [3.0] == pytest.approx(back["levels"])


async def test_a_pause_is_for_all(ask):
    """Nothing is promised before its end, and every worker hears of it."""
    await rate(ask, "a", pause=2.0)
    answer = await rate(ask, "b", calls=[[2, [1.0]]])
    assert 2.0 == pytest.approx(answer["paused"], abs=1)
    assert all(wait >= answer["paused"] - 1e-6 for wait in waits(answer))


async def test_what_the_provider_says_remains_lowers_the_level(ask):
    """And raises it only if told to."""
    assert [7.0] == (await rate(ask, learn=[[0, 7.0, -1e18]]))["levels"]
    assert [60.0] == (await rate(ask, learn=[[0, 80.0, 60.0]]))["levels"]


async def test_who_was_away_promises_nothing_from_what_grew_meanwhile(ask):
    """The bucket looks full to the store, but its permits were used without it."""
    assert [0.0] == (await rate(ask, resume=True))["levels"]


async def test_what_a_log_gave_away_while_the_store_was_away_is_told(ask):
    """A bucket needs no telling, since it begins empty."""
    specs = [SLOW, DAY]
    assert [0.0, 2.0] == (await rate(ask, specs=specs, resume=True, used=[7.0, 3.0]))["levels"]
    assert 2 == len(waits(await rate(ask, calls=[[4, [0.0, 1.0]]], specs=specs, horizon=1.0)))


async def test_plenty_is_handed_out_in_advance_but_half_of_it_is_kept(ask):
    """20 are wanted in advance; of 50, 25 stay."""
    assert 20 == len(waits(await rate(ask, more=[20, [1.0]], specs=[SLOW])))
    assert 5 <= len(waits(await rate(ask, more=[20, [1.0]], specs=[SLOW]))) <= 7


async def test_a_bucket_that_has_become_smaller_holds_no_more_than_that(ask):
    """A limit of 1,000 a second that is now one of 10 leaves no burst of hundreds."""
    assert 1 == len(waits(await rate(ask, calls=[[1, [1.0]]], specs=[[0, 1_000.0, 1.0, 700.0, 0.0, 0.0]])))
    answer = await rate(ask, specs=[[0, 10.0, 1.0, 7.0, 0.0, 0.0]])
    assert [7.0] == pytest.approx(answer["levels"])
    large = [[0, 1_000.0, 1.0, 700.0, 0.0, 0.0]]
    assert [1_000.0] == (await rate(ask, learn=[[0, 2_000.0, 1_000.0]], specs=large))["levels"]
    assert [1_000.0] == (await rate(ask, specs=large))["levels"]  # as the provider said


async def test_two_who_name_other_limits_share_those_that_both_name(ask):
    """While a new configuration replaces an old one, nothing is full again, and nobody takes tokens for requests."""
    old, new = {"specs": [SLOW], "names": ["rpm"]}, {"specs": [TOKENS, SLOW], "names": ["tpm", "rpm"]}
    await rate(ask, calls=[[40, [1.0]]], **old)
    assert [900.0, 10.0] == pytest.approx((await rate(ask, **new))["levels"], abs=1)
    assert [10.0] == pytest.approx((await rate(ask, **old))["levels"], abs=1)
    await rate(ask, calls=[[1, [800.0, 5.0]]], **new)
    assert [5.0] == pytest.approx((await rate(ask, **old))["levels"], abs=1)
    await asyncio.sleep(0.2)  # 200 tokens
    await rate(ask, **old)
    assert 299.0 <= (await rate(ask, **new))["levels"][0] <= 500.0


async def test_a_pause_holds_for_limits_that_were_not_named_when_it_came(ask):
    """Nothing grows in it, and there is no burst after it."""
    tokens = {"specs": [TOKENS], "names": ["tpm"]}
    await rate(ask, **tokens)
    await rate(ask, pause=0.2)
    assert [0.0] < waits(await rate(ask, calls=[[1, [1.0]]], **tokens)) <= [0.2]
    await asyncio.sleep(0.25)
    assert (await rate(ask, **tokens))["levels"][0] < 150.0


async def test_one_name_for_a_bucket_and_a_log_is_two_limits(ask):
    """An algorithm that is changed begins anew."""
    await rate(ask, calls=[[50, [1.0]]], specs=[SLOW])
    assert [5.0] == (await rate(ask, specs=[DAY]))["levels"]
    await rate(ask, calls=[[4, [1.0]]], specs=[DAY], horizon=1.0)
    assert [1.0] == (await rate(ask, specs=[DAY]))["levels"]
    assert [0.0] == pytest.approx((await rate(ask, specs=[SLOW]))["levels"], abs=2)


async def test_workers_are_counted_and_say_goodbye(ask):
    """Those who were heard of in the last seconds."""
    assert [1, 2, 3] == [(await rate(ask, name))["workers"] for name in "abc"]
    assert 2 == (await rate(ask, "c", bye=True))["workers"]


# ------------------------------------------------------------------ questions that nobody waits for any more


async def test_a_question_that_comes_too_late_changes_nothing(ask):
    """By the store's own clock, which the answer tells; one that comes in time is answered."""
    questions = [
        lambda **more: rate(ask, calls=[[5, [1.0]]], specs=[SLOW], **more),
        lambda **more: places(ask, "a", 3, **more),
        lambda **more: budget(ask, spent=[2.0], **more),
        lambda **more: notes(ask, **more),
    ]
    for question in questions:
        now = (await question(expires=None))["now"]
        late = await question(expires=now - 0.001)
        assert (True, {"now", "late"}) == (late["late"], set(late))
        assert now <= late["now"] < now + 60.0
        assert "late" not in await question(expires=now + 60.0)
    assert [40.0] == pytest.approx((await rate(ask, specs=[SLOW]))["levels"], abs=2)


# ------------------------------------------------------------------ places


def places(ask, worker, wanted, busy=0, *, limit=10, ttl=10.0, had=False, bye=False, **more):
    return ask("places", worker, limit=limit, wanted=wanted, busy=busy, had=had, ttl=ttl, bye=bye, **more)


async def test_places_are_dealt_out_by_need(ask):
    """Who wants less than an equal part gets that, the others share the rest."""
    assert 10 == (await places(ask, "a", 20))["part"]
    assert 0 == (await places(ask, "b", 2))["part"]  # all are taken; but from now on two are b's
    assert 8 == (await places(ask, "a", 20, busy=8))["part"]
    assert 2 == (await places(ask, "b", 2))["part"]


async def test_what_is_in_use_is_kept_by_who_has_too_much(ask):
    """Its part shrinks at once; its places come back as its calls end."""
    await places(ask, "a", 20)
    await places(ask, "b", 20)
    answer = await places(ask, "a", 20, busy=9)
    assert (5, 9) == (answer["part"], answer["held"])
    assert 1 == (await places(ask, "b", 20))["part"]


async def test_a_dead_worker_loses_its_places(ask):
    """When its lease is over, and not before."""
    await places(ask, "a", 10, busy=10, ttl=1.0)
    assert 0 == (await places(ask, "b", 10))["part"]
    await asyncio.sleep(1.1)
    answer = await places(ask, "b", 10)
    assert (10, 1) == (answer["part"], answer["workers"])


async def test_fewer_places_than_workers_go_round(ask):
    """Whoever got one longest ago is next."""
    assert 1 == (await places(ask, "a", 3, limit=1))["part"]
    assert 0 == (await places(ask, "b", 3, limit=1))["part"]
    assert 0 == (await places(ask, "a", 3, busy=0, limit=1))["part"]
    assert 1 == (await places(ask, "b", 3, limit=1))["part"]


async def test_a_book_that_was_lost_deals_nothing_out_before_all_have_told_what_they_have(ask):
    """Somebody has places and is not known: others have some too. A worker that is known is no such sign."""
    assert 4 == (await places(ask, "a", 20, busy=4, had=True))["part"]
    assert 0 == (await places(ask, "new", 5))["part"]
    assert 10 == (await places(ask, "b", 20, busy=6, had=True))["held"]
    await asyncio.sleep(3.1)
    for worker in "ab":
        await places(ask, worker, 20, busy=3, had=True)
    assert (await places(ask, "new", 5))["part"] > 0


async def test_who_was_taken_for_dead_does_not_stop_the_others(ask):
    """A book that has been there for a while has not lost anything."""
    await places(ask, "a", 3)
    await asyncio.sleep(3.1)
    assert 2 == (await places(ask, "late", 2, busy=1, had=True))["part"]
    assert 8 == (await places(ask, "a", 20, busy=3, had=True))["part"]


async def test_goodbye_frees_all_places(ask):
    """At once."""
    await places(ask, "a", 10, busy=10)
    await places(ask, "a", 0, bye=True)
    assert 10 == (await places(ask, "b", 10))["part"]


# ------------------------------------------------------------------ budgets


def budget(ask, worker="a", **more):
    asked = {"limits": [10.0], "spent": [0.0], "told": [0.0], "hold": [0.0], "busy": [0.0], "need": []}
    return ask("budget", worker, **({"units": ["usd"], "ttl": 10.0, "keep": 60.0, "bye": False} | asked | more))


async def test_an_allowance_is_a_slice_of_what_is_left(ask):
    """A quarter of it for one worker; never less than what is needed, nor more than there is."""
    first = await budget(ask, need=[0.1])
    assert ([2.5], -1) == (first["granted"], first["short"])
    assert [3.0] == (await budget(ask, "b", need=[3.0]))["granted"]
    assert [4.5] == (await budget(ask, "c", need=[4.5]))["granted"]
    refused = await budget(ask, "d", need=[0.5])
    assert (False, 0) == (bool(refused["granted"]), refused["short"])


async def test_what_was_spent_is_gone_and_the_rest_of_an_allowance_comes_back(ask):
    """`hold` is what stays with the worker."""
    await budget(ask, need=[8.0])
    answer = await budget(ask, spent=[2.0], hold=[0.0])
    assert ([2.0], [0.0]) == (answer["spent"], answer["leased"])
    assert [8.0] == (await budget(ask, "b", need=[8.0]))["granted"]


async def test_what_was_spent_is_counted_once_however_often_it_is_told(ask):
    """A worker that got no answer tells it again, and a question may arrive after the one that followed it."""
    await budget(ask, spent=[2.0], hold=[1.0])
    assert [2.0] == (await budget(ask, spent=[2.0], hold=[1.0]))["spent"]
    assert [5.0] == (await budget(ask, spent=[5.0], told=[2.0]))["spent"]
    assert [5.0] == (await budget(ask, spent=[3.0], told=[2.0]))["spent"]
    assert [6.0] == (await budget(ask, "b", spent=[1.0]))["spent"]


async def test_a_worker_that_comes_back_has_its_past_counted_already(ask):
    """What an answer confirmed is not counted anew when its lease was over meanwhile, or it said goodbye."""
    await budget(ask, spent=[2.0], bye=True)
    assert [5.0] == (await budget(ask, spent=[5.0], told=[2.0]))["spent"]


async def test_a_dead_workers_calls_count_as_spent_and_its_allowance_is_free(ask):
    """They may have been billed."""
    await budget(ask, hold=[6.0], busy=[1.0], ttl=0.3)
    await asyncio.sleep(0.4)
    answer = await budget(ask, "b", need=[9.0])
    assert ([9.0], [1.0]) == (answer["granted"], answer["spent"])


async def test_several_amounts_are_leased_together_or_not_at_all(ask):
    """And the answer says which of them is short."""
    two = {"units": ["usd", "tokens"], "limits": [10.0, 100.0]}
    two |= {"spent": [0.0, 0.0], "told": [0.0, 0.0], "hold": [0.0, 0.0], "busy": [0.0, 0.0]}
    refused = await budget(ask, need=[1.0, 101.0], **two)
    assert (False, 1, [0.0, 0.0]) == (bool(refused["granted"]), refused["short"], refused["leased"])


async def test_a_budget_of_other_units_has_spent_none_of_them(ask):
    """One of tokens that becomes one of USD, and then one of both; a worker of the first that dies is forgotten."""
    tokens = {"units": ["tokens"], "limits": [1_000.0]}
    await budget(ask, "dead", spent=[900.0], hold=[50.0], busy=[20.0], ttl=0.3, **tokens)
    assert [0.0] == (await budget(ask, "b", need=[4.0]))["spent"]
    await asyncio.sleep(0.4)
    await budget(ask, "b", spent=[3.0], bye=True)
    both = {"units": ["usd", "tokens"], "limits": [10.0, 1_000.0]}
    both |= {"spent": [0.0, 0.0], "told": [0.0, 0.0], "hold": [0.0, 0.0], "busy": [0.0, 0.0]}
    answer = await budget(ask, "c", **both)
    assert ([3.0, 920.0], [0.0, 0.0]) == (answer["spent"], answer["leased"])


# ------------------------------------------------------------------ notes


def notes(ask, worker="a", numbers=(1.0, 2.0), text=None, version=-1, ttl=10.0, *, bye=False, **more):
    return ask("notes", worker, numbers=numbers, text=text, version=version, ttl=ttl, keep=60.0, bye=bye, **more)


async def test_numbers_of_the_others_are_added_up(ask):
    """Without one's own, and without those who are gone."""
    assert [] == list((await notes(ask))["others"])
    await notes(ask, "b", (10.0, 20.0))
    assert [11.0, 22.0] == (await notes(ask, "c", (5.0, 5.0)))["others"]
    await notes(ask, "b", bye=True)
    assert [1.0, 2.0] == (await notes(ask, "c", (5.0, 5.0)))["others"]


async def test_only_who_knows_the_last_text_writes_the_next(ask):
    """So two who write at once do not both believe that theirs stands."""
    begun = await notes(ask)
    assert (0, "") == (begun["version"], begun["text"])
    assert 1 == (await notes(ask, text="first", version=0))["version"]
    answer = await notes(ask, "b", text="second", version=0)
    assert (1, "first") == (answer["version"], answer["text"])
    assert 0.0 <= answer["age"] < 1.0
