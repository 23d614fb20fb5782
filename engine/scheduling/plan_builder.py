"""A plan in the making. Knows nothing of who is chosen for it, or why."""

from __future__ import annotations

from engine.scheduling.plan import ScheduledSequence, StepPlan


class PlanBuilder:
    """The token budget that is left, the entries so far, and the blocks that the prefix cache now
    counts on."""

    __slots__ = ("budget", "longer", "registered", "single")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.registered: list[int] = []
        self.single: list[ScheduledSequence] = []
        self.longer: list[ScheduledSequence] = []

    def add(self, item: ScheduledSequence) -> None:
        """One more entry, paid from the budget."""
        (self.single if item.num_tokens == 1 else self.longer).append(item)
        self.budget -= item.num_tokens

    def build(self, *, longest_first: bool) -> StepPlan:
        """The plan of all entries, in the order that plans have.

        `longest_first`: among the single tokens. A GPU begins with the first ones, and is done
        sooner when those that it ends with are short: attention of 128 sequences of 100 to 2000
        tokens took 10 % less on an H200. All of them grow alike, so that places stay the same from
        step to step.
        """
        single = self.single
        if longest_first:
            single = sorted(single, key=_negative_start)
        return StepPlan((*single, *self.longer))


def _negative_start(item: ScheduledSequence) -> int:
    return -item.start
