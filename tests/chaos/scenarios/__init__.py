"""The scenarios, one family a module, in the order of the table."""

from tests.chaos.scenarios import hostile, instances, network, readers, servers, soak, storm

SCENARIOS = (
    *instances.SCENARIOS,
    *servers.SCENARIOS,
    *network.SCENARIOS,
    *readers.SCENARIOS,
    *storm.SCENARIOS,
    *hostile.SCENARIOS,
    *soak.SCENARIOS,
)
