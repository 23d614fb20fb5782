"""What the engine's loop asks of whatever computes its plans.

Knows nothing of devices or tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.scheduling.plan import StepPlan, StepResult


class LaunchedStep(Protocol):
    """A step that is being computed, or has been."""

    def result(self) -> StepResult:
        """Wait for it. Raises `RuntimeError` when the device failed under it."""
        ...


class Runner(Protocol):
    """Computes plans, in the order in which it gets them."""

    @property
    def max_plans_ahead(self) -> int:
        """How many steps it takes on before the oldest one's result is asked for."""
        ...

    def launch(self, plan: StepPlan) -> LaunchedStep:
        """Begin with one step.

        Raises:
            RuntimeError: torch failed, out of memory included; nothing of the step then counts.
        """
        ...


@dataclass(frozen=True, slots=True)
class DoneStep:
    """A step whose result is there already."""

    outcome: StepResult

    def result(self) -> StepResult:
        """At once."""
        return self.outcome
