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

    def build(self) -> StepPlan:
        """The plan of all entries, in the order that plans have."""
        return StepPlan((*self.single, *self.longer))
