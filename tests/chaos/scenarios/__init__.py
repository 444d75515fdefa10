"""The scenarios, one family a module, in the order of the table."""

from tests.chaos.scenarios import instances, servers

SCENARIOS = (*instances.SCENARIOS, *servers.SCENARIOS)
