"""Virtual time moves when it is moved, and alarms fire at their instants."""

from __future__ import annotations

import random

import pytest

from emu.clock import NEVER, Clock


def ringing(clock: Clock, seen: list[tuple[str, int]], name: str, idstr: str = "chip") -> object:
    return clock.alarm(idstr, 0, name, lambda: seen.append((name, clock.now_ns)))


def test_time_moves_as_far_as_it_is_told() -> None:
    clock = Clock()

    clock.advance(5)
    clock.advance_to(7)
    clock.advance_to(3)

    assert clock.now_ns == 7, "it never goes back"


def test_an_alarm_fires_at_its_deadline_and_once() -> None:
    clock, seen = Clock(), []
    alarm = ringing(clock, seen, "a")
    alarm.arm(10)

    clock.advance(9)
    assert seen == []
    clock.advance(100)

    assert seen == [("a", 10)]
    assert alarm.deadline_ns == NEVER


def test_alarms_fire_in_the_order_of_their_deadlines() -> None:
    clock, seen = Clock(), []
    for name, deadline in (("late", 30), ("early", 10), ("between", 20)):
        ringing(clock, seen, name).arm(deadline)

    clock.advance(25)

    assert seen == [("early", 10), ("between", 20)]
    assert clock.next_ns == 30


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"]])
def test_of_the_same_instant_in_the_order_of_their_names(order: list[str]) -> None:
    """Never in the order they were made in: a machine that was loaded is made in another."""
    clock, seen = Clock(), []
    for name in order:
        ringing(clock, seen, "tick", idstr=name)
        ringing(clock, seen, name, idstr=name).arm(5)

    clock.advance(5)

    assert [name for name, _ in seen] == ["a", "b", "c"]


def test_one_that_is_moved_fires_at_the_new_instant_only() -> None:
    clock, seen = Clock(), []
    alarm = ringing(clock, seen, "a")
    alarm.arm(10)
    alarm.arm(10)
    alarm.arm(20)

    clock.advance(50)

    assert seen == [("a", 20)]


def test_one_that_is_cancelled_does_not_fire() -> None:
    clock, seen = Clock(), []
    alarm = ringing(clock, seen, "a")
    alarm.arm(10)
    alarm.cancel()

    clock.advance(50)

    assert seen == []
    assert clock.next_ns == NEVER


def test_one_in_the_past_fires_as_soon_as_time_moves() -> None:
    clock, seen = Clock(now_ns=100), []
    ringing(clock, seen, "a").arm(50)

    clock.advance(0)

    assert seen == [("a", 100)]


def test_one_that_arms_itself_keeps_time() -> None:
    clock = Clock()
    seen = []

    def tick() -> None:
        seen.append(clock.now_ns)
        alarm.arm(clock.now_ns + 10)

    alarm = clock.alarm("chip", 0, "tick", tick)
    alarm.arm(10)
    clock.advance(35)

    assert seen == [10, 20, 30]


def test_a_callback_may_move_the_clock() -> None:
    """A transmitter that is full waits: and then time has passed."""
    clock, seen = Clock(), []
    clock.alarm("a", 0, "wait", lambda: clock.advance(100)).arm(10)
    ringing(clock, seen, "b").arm(50)

    clock.advance(20)

    assert seen[0] == ("b", 50)
    assert clock.now_ns == 110


@pytest.mark.parametrize("seed", range(20))
def test_however_they_are_armed_and_cancelled_the_first_is_known(seed: int) -> None:
    """Compared with what a look at all of them finds, ties included."""
    numbers = random.Random(seed)
    clock, seen = Clock(), []
    alarms = [ringing(clock, seen, name, idstr=name) for name in "dacb"]
    for _ in range(300):
        if numbers.random() < 0.2:
            due = sorted((each.deadline_ns, each.key) for each in alarms)
            clock.advance(numbers.randrange(3))
            fired = [key[0] for deadline_ns, key in due if deadline_ns <= clock.now_ns]
            assert [name for name, _ in seen] == fired
            seen.clear()
        else:
            alarm = numbers.choice(alarms)
            alarm.arm(numbers.choice([NEVER, clock.now_ns + numbers.randrange(5)]))
        assert clock.next_ns == min(each.deadline_ns for each in alarms)
