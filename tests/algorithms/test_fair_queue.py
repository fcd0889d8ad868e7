"""Start-time fair queueing: shares by weight, no credit for idleness, nobody starved, whoever cancels or settles."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sluiceway.algorithms.fair_queue import FairQueue

WEIGHTS = {"a": 1.0, "b": 3.0, "c": 0.5}


def weight(key):
    return WEIGHTS.get(key, 1.0)


def filled(n=1_000, **costs):
    """Return a queue in which each of the flows has *n* items of its cost."""
    queue = FairQueue(weight)
    for key, cost in costs.items():
        for number in range(n):
            queue.push(key, (key, number, cost), cost, number)
    return queue


def served(queue, n):
    """Serve *n*; return what each flow got, in cost."""
    got = {}
    for _ in range(n):
        key, _, cost = queue.pop()
        got[key] = got.get(key, 0) + cost
    return got


# ------------------------------------------------------------------ shares


def test_flows_of_equal_weight_take_turns():
    """However many one of them has."""
    queue = FairQueue()
    for number in range(5):
        queue.push("a", ("a", number))
    queue.push("d", ("d", 0))
    queue.push("d", ("d", 1))
    assert ["a", "d", "a", "d", "a", "a", "a"] == [queue.pop()[0] for _ in range(7)]


def test_cost_divides_by_weight_and_not_by_number():
    """With weights 3:1 three times the tokens are served, though the items are of different sizes."""
    got = served(filled(a=10.0, b=70.0), 400)
    assert 3.0 == pytest.approx(got["b"] / got["a"], rel=0.05)


def test_a_newcomer_waits_for_one_and_not_for_the_ten_thousand_before_it():
    """Who comes back after idleness is next when the one that is being served is done."""
    queue = filled(10_000, a=10.0)
    for second in range(100):
        served(queue, 7)
        queue.push("d", ("d", second, 5.0), 5.0)
        assert "d" in {queue.pop()[0], queue.pop()[0]}


def test_idleness_earns_no_credit():
    """A flow that was away while another took a thousand gets its turn, and then not more than its share."""
    queue = filled(a=10.0)
    served(queue, 500)
    for number in range(100):
        queue.push("d", ("d", number, 10.0), 10.0, number)
    got = served(queue, 100)
    assert 500 == pytest.approx(got["d"], abs=10)


def test_what_was_taken_without_waiting_counts():
    """A flow that just took a lot at once, while nobody waited, is behind one that took nothing."""
    queue = FairQueue()
    queue.passed("a", 100.0)
    for number in range(11):
        queue.push("a", "a", 10.0, number)
        queue.push("d", "d", 10.0, number)
    assert ["d"] * 10 == [queue.pop() for _ in range(10)]


def test_what_was_taken_alone_is_forgiven_but_for_the_last():
    """Who took a thousand while nobody else was there is behind a newcomer by its last item and no more."""
    queue = FairQueue()
    for _ in range(100):
        queue.passed("a", 10.0)
    for number in range(3):
        queue.push("a", "a", 10.0, number)
        queue.push("d", "d", 10.0, number)
    assert ["d", "a"] == sorted([queue.pop(), queue.pop()], reverse=True)


def test_a_heavy_item_is_not_passed_for_ever():
    """An item of a hundred gets its turn among flows with items of one."""
    queue = FairQueue()
    queue.push("heavy", "heavy", 100.0)
    for number in range(50):
        queue.push("light", "light", 1.0, number)
    assert "heavy" in [queue.pop(), queue.pop()]


def test_within_a_flow_the_least_rank_is_first():
    """One that came before, and comes again, stands where it stood."""
    queue = FairQueue()
    for rank, item in ((2.0, "second"), (3.0, "third"), (1.0, "first again")):
        queue.push("a", item, 1.0, rank)
    assert ["first again", "second", "third"] == [queue.pop() for _ in range(3)]


# ------------------------------------------------------------------ settling


def test_debts_and_refunds_keep_the_shares():
    """Shares of what was really taken come to 3:1, though one overestimates ten times and it comes back late."""
    queue = filled(12_000, a=1_000.0, b=1_000.0)
    actual = {"a": 100.0, "b": 1_700.0}
    got = {"a": 0.0, "b": 0.0}
    running = []
    for _ in range(12_000):
        key = queue.pop()[0]
        got[key] += actual[key]
        running.append(key)
        if len(running) > 20:  # so many run at once
            done = running.pop(0)
            queue.settle(done, actual[done] - 1_000.0)
    assert 3.0 == pytest.approx(got["b"] / got["a"], rel=0.05)


def test_refunds_of_what_was_taken_alone_pass_nobody():
    """A flow that overestimates what it takes does not get ahead of a newcomer when it all comes back."""
    queue = filled(a=4_000.0)
    served(queue, 10)
    queue.push("d", ("d", 0, 100.0), 100.0)
    for _ in range(10):
        queue.settle("a", -3_900.0)
    assert "d" == queue.pop()[0]


def test_a_debt_without_a_wait_is_paid():
    """A call that never waited and took a thousand times its estimate puts its flow behind the others."""
    queue = FairQueue()
    queue.passed("a", 10.0)
    queue.settle("a", 9_990.0)
    for number in range(1_100):
        queue.push("a", "a", 10.0, number)
        queue.push("d", "d", 10.0, number)
    assert ["d"] * 1_000 == [queue.pop() for _ in range(1_000)]


def test_who_gives_up_is_not_charged():
    """A dropped item costs its flow nothing, and leaves the turn to the flow's next."""
    queue = FairQueue()
    for item in ("a1", "a2"):
        queue.push("a", item, 1_000.0)
    queue.push("d", "d1", 1.0)
    assert "a1" == queue.drop()
    assert "a2" == queue.head() == queue.pop()


# ------------------------------------------------------------------ memory


def test_thousands_of_flows_are_not_remembered_for_ever():
    """Of those that wait for nothing the last `max_idle` stay; those who wait all do."""
    queue = FairQueue(max_idle=10)
    for number in range(5_000):
        queue.passed(number, 1.0)
    assert 10 == queue.flows
    for number in range(5_000):
        queue.push(number, number)
    assert 5_000 == queue.flows == queue.active
    for _ in range(5_000):
        queue.pop()
    assert (10, 0) == (queue.flows, len(queue))
    queue.settle("never seen", -5.0)
    assert 10 == queue.flows


def test_settlements_leave_no_heap_behind():
    """A million corrections of two who wait take the memory of two."""
    queue = filled(2, a=1.0, b=1.0)
    for number in range(10_000):
        queue.settle("ab"[number % 2], 1.0 if number % 3 else -0.5)
    assert len(queue._heap) < 100
    assert 4 == len([queue.pop() for _ in range(4)])


# ------------------------------------------------------------------ against a model


class Naive:
    """The definition, in lists and sums."""

    def __init__(self):
        self.items = []  # (rank, number, key, cost, item)
        self.finish, self.base, self.stamp = {}, {}, {}
        self.virtual = 0.0
        self.number = 0

    def tick(self):
        self.number += 1
        return self.number

    def start(self, key):
        return max(self.base.get(key, float("-inf")), self.finish.get(key, float("-inf")))

    def of(self, key):
        return sorted(entry for entry in self.items if entry[2] == key)

    def push(self, key, item, cost, rank):
        new = not self.of(key)
        self.items.append((rank, self.tick(), key, cost, item))
        if new:
            self.base[key] = self.virtual
            self.stamp[key] = self.tick()

    def next(self):
        key = min({entry[2] for entry in self.items}, key=lambda key: (self.start(key), self.stamp[key]))
        return self.of(key)[0]

    def pop(self):
        first = self.next()
        key = first[2]
        self.virtual = self.start(key)
        if {key} == {entry[2] for entry in self.items}:
            self.base[key] = self.virtual
        self.finish[key] = self.virtual + first[3] / weight(key)
        self.items.remove(first)
        self.stamp[key] = self.tick()
        return first[4]

    def drop(self):
        first = self.next()
        self.items.remove(first)
        return first[4]

    def passed(self, key, cost):
        self.virtual = max(self.virtual, self.finish.get(key, float("-inf")))
        self.finish[key] = self.virtual + cost / weight(key)

    def settle(self, key, delta):
        before = self.start(key)
        if key not in self.finish and key not in self.base:
            if delta <= 0:
                return
            self.finish[key] = self.virtual
        self.finish[key] = self.finish.get(key, float("-inf")) + delta / weight(key)
        if self.start(key) != before:
            self.stamp[key] = self.tick()


KEYS = st.sampled_from("abcd")
COSTS = st.integers(0, 40).map(float)


class AgainstTheNaiveModel(RuleBasedStateMachine):
    """Whatever comes, leaves, is served, cancelled and settled, the machine and the definition agree on who is next."""

    def __init__(self):
        super().__init__()
        self.queue = FairQueue(weight)
        self.model = Naive()
        self.came = 0

    @rule(key=KEYS, cost=COSTS, rank=st.integers(0, 5))
    def push(self, key, cost, rank):
        self.came += 1
        self.queue.push(key, self.came, cost, rank)
        self.model.push(key, self.came, cost, rank)

    @precondition(lambda self: self.model.items)
    @rule()
    def pop(self):
        assert self.model.pop() == self.queue.pop()

    @precondition(lambda self: self.model.items)
    @rule()
    def drop(self):
        assert self.model.drop() == self.queue.drop()

    @precondition(lambda self: not self.model.items)
    @rule(key=KEYS, cost=COSTS)
    def passed(self, key, cost):
        self.queue.passed(key, cost)
        self.model.passed(key, cost)

    @rule(key=KEYS, delta=st.integers(-40, 40).map(float))
    def settle(self, key, delta):
        self.queue.settle(key, delta)
        self.model.settle(key, delta)

    @rule(odd=st.integers(0, 2))
    def sweep(self, odd):
        self.queue.retain(lambda item: item % 3 != odd)
        self.model.items = [entry for entry in self.model.items if entry[4] % 3 != odd]

    @invariant()
    def agree(self):
        assert sorted(entry[4] for entry in self.model.items) == sorted(self.queue)
        assert len(self.model.items) == len(self.queue)
        assert len({entry[2] for entry in self.model.items}) == self.queue.active
        assert self.model.virtual == self.queue.virtual
        if self.model.items:
            assert self.model.next()[4] == self.queue.head()


TestAgainstTheNaiveModel = AgainstTheNaiveModel.TestCase
TestAgainstTheNaiveModel.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAgainstTheNaiveModel.runTest.__doc__ = AgainstTheNaiveModel.__doc__


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_flows_that_all_wait_never_differ_by_more_than_one_item_each(seed):
    """At any moment of a busy time, what two flows took by weight differs by less than their largest items do."""
    rng = random.Random(seed)
    queue = FairQueue(weight)
    largest = {key: rng.uniform(1, 50) for key in WEIGHTS}
    for key, most in largest.items():
        for number in range(200):
            cost = rng.uniform(0.1, most)
            queue.push(key, (key, number, cost), cost, number)
    got = dict.fromkeys(WEIGHTS, 0.0)
    for _ in range(200):
        key, _, cost = queue.pop()
        got[key] += cost / weight(key)
        for one in got:
            for other in got:
                bound = largest[one] / weight(one) + largest[other] / weight(other)
                assert got[one] - got[other] <= bound + 1e-9
