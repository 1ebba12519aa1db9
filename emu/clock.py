"""Virtual time: nanoseconds that only the guest moves, and alarms set on them.

Nothing in the machine reads the host's clock.  Time moves when the guest runs (a cost
a block, a cost a port access, `Costs`) and when it halts (to the next alarm).  So a run, the
same run saved and restored, and a test of it all see the same events at the same instants.

An alarm belongs to a section of the save: its owner keeps the deadline in its own State and
arms the alarm from there when it settles.  The clock itself saves nothing but `now_ns`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from emu import attrs

NS_PER_S = 1_000_000_000
TSC_HZ = 1_000_000_000  # the time stamp counter counts virtual nanoseconds, one for one

_deadline = attrgetter("deadline_ns")

NEVER = 1 << 62  # later than any deadline: 146 years


@attrs.frozen
class Costs:
    """What the guest's doings cost, in virtual nanoseconds; each is saved with the machine."""

    block_ns: int = 5  # a translated block entered: about five instructions
    port_ns: int = 1_000  # an I/O port access: an ISA bus cycle
    rdtsc_ns: int = 400  # a read of the time stamp counter, or delay loops would spin for ever


@attrs.define(eq=False)
class Alarm:
    """One deadline on the clock.  Arming it again moves it; once fired it is idle."""

    key: tuple[str, int, str]  # section idstr, its instance, the alarm's name: the order of ties
    callback: Callable[[], None]
    _clock: Clock
    deadline_ns: int = NEVER

    def arm(self, deadline_ns: int) -> None:
        """Ask to be called at *deadline_ns*; a time already past means as soon as possible."""
        if deadline_ns != self.deadline_ns:
            self.deadline_ns = deadline_ns
            self._clock.deadline_moved(self)

    def cancel(self) -> None:
        self.arm(NEVER)


@attrs.define(eq=False)
class Clock:
    """The machine's one clock."""

    costs: Costs = attrs.field(factory=Costs)
    now_ns: int = 0
    next_ns: int = NEVER  # the earliest deadline of all alarms
    _alarms: list[Alarm] = attrs.field(factory=list, init=False)  # by their keys
    _first: Alarm | None = attrs.field(default=None, init=False)  # the one that is due first

    def alarm(self, idstr: str, instance: int, name: str, callback: Callable[[], None]) -> Alarm:
        """Make an idle alarm that will call *callback*; its name orders it among equals."""
        alarm = Alarm((idstr, instance, name), callback, self)
        self._alarms.append(alarm)
        self._alarms.sort(key=lambda each: each.key)
        return alarm

    def deadline_moved(self, alarm: Alarm) -> None:
        """Find the alarm that is due first, now that *alarm* has been set; alarms call this."""
        if alarm.deadline_ns < self.next_ns:
            self._first = alarm
        elif alarm is self._first or alarm.deadline_ns == self.next_ns:
            self._first = min(self._alarms, key=_deadline)  # of several, the first in order
        else:
            return
        self.next_ns = self._first.deadline_ns

    def advance_to(self, target_ns: int) -> None:
        """Move on to *target_ns*, firing each alarm that is due, earliest first.

        A callback sees `now_ns` at its own deadline and may arm alarms again.  Alarms of
        the same instant fire in the order of their keys, whoever was made first.  A callback
        may itself move the clock on: time never goes back, and never gets to NEVER.
        """
        target_ns = min(target_ns, NEVER - 1)
        while (alarm := self._first) is not None and self.next_ns <= target_ns:
            self.now_ns = max(self.now_ns, alarm.deadline_ns)
            alarm.cancel()
            alarm.callback()
        self.now_ns = max(self.now_ns, target_ns)

    def advance(self, ns: int) -> None:
        """Move *ns* nanoseconds on."""
        self.advance_to(self.now_ns + ns)
