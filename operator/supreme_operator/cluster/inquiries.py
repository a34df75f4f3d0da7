"""Ask events why a child waits."""

from datetime import datetime
from typing import Final

from supreme_operator.cluster.client import Cluster, ClusterError
from supreme_operator.cluster.resources import EVENTS
from supreme_operator.deciding.facts import Child, EventAnswer
from supreme_operator.deciding.waiting import KubernetesEvent, answered, asked, awaited, telling

MOST_PAGES: Final = 10
"""Most pages of the events of one object. Users may write events, and nobody else makes as many."""


async def inquire(cluster: Cluster, child: Child, namespace: str, now: datetime) -> EventAnswer:
    """EventAnswer of the events of a child, or of its pod; also where they cannot be read."""
    child = awaited(child)
    try:
        pages = cluster.list(
            EVENTS, namespace=namespace, fields=f"involvedObject.uid={asked(child)}"
        )
        found, read = list[KubernetesEvent](), 0
        async for page in pages:
            found, read = telling(child, [*found, *page.bodies]), read + 1
            if read == MOST_PAGES:
                break
    except ClusterError as error:
        reason = "ContainerNotCreated" if child.pods else "PodsNotCreated"
        message = f"it does not go on, and why cannot be read: {error}"
        return EventAnswer(asked_at=now, reason=reason, message=message)
    return answered(child, found, now)
