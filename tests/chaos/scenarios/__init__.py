"""The scenarios, one family a module, in the order of the table."""

from tests.chaos.scenarios import instances

SCENARIOS = (*instances.SCENARIOS,)
