"""Ask events why a child waits."""

from datetime import datetime

from supreme_operator.cluster.client import Cluster, ClusterError
from supreme_operator.cluster.resources import EVENTS
from supreme_operator.deciding.facts import Child, EventAnswer
from supreme_operator.deciding.waiting import answered, asked


async def inquire(cluster: Cluster, child: Child, namespace: str, now: datetime) -> EventAnswer:
    """EventAnswer of the events of a child, or of its pod; also where they cannot be read."""
    try:
        pages = cluster.list(
            EVENTS, namespace=namespace, fields=f"involvedObject.uid={asked(child)}"
        )
        found = [each async for page in pages for each in page.bodies]
    except ClusterError as error:
        reason = "ContainerNotCreated" if child.pods else "PodsNotCreated"
        message = f"it does not go on, and why cannot be read: {error}"
        return EventAnswer(asked_at=now, reason=reason, message=message)
    return answered(child, found, now)
