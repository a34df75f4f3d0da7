"""Admission of an experiment, with what the orders of its children still tell of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supreme_core.api.orders import SharedOrder
from supreme_core.errors import SpecError
from supreme_core.registry.catalog import Catalog
from supreme_operator.children.order import read_order
from supreme_operator.cluster.cache import Key
from supreme_operator.cluster.client import Cluster, Forbidden, NotFound
from supreme_operator.cluster.resources import CONFIG_MAPS
from supreme_operator.deciding import accepted
from supreme_operator.deciding.admission import (
    Admitted,
    NotAccepted,
    admit,
    admit_accepted,
    status_in,
)
from supreme_operator.deciding.facts import Child
from supreme_operator.deciding.policy import Policy

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Admissions:
    """Judgements on what experiments ask for.  defaults: see `admit`."""

    cluster: Cluster
    catalog: Catalog
    defaults: Mapping[str, Mapping[str, Any]]
    policy: Policy

    async def judge(
        self, key: Key, body: Mapping[str, Any], children: Sequence[Child]
    ) -> Admitted | NotAccepted:
        """Judge whether it can be done and still is what was accepted, whatever the status says."""
        methods, orders = status_in(body).accepted_methods, list[SharedOrder]()
        try:
            found = admit(body, self.catalog, defaults=self.defaults, policy=self.policy)
        except SpecError as error:
            orders = await self._orders(key, children)
            methods = methods or accepted.methods_of(orders) or None
            rest = admit_accepted(
                body,
                self.catalog,
                defaults=self.defaults,
                policy=self.policy,
                methods=methods or (),
                refusal=str(error),
            )
            if rest is None:
                return NotAccepted(str(error), methods)
            found = rest
        if not accepted.is_the_same(found.order, children):  # reading orders costs requests
            orders = orders or await self._orders(key, children)
        given = body["spec"].get("storage") or {}
        mistakes = [
            *accepted.other_seeds(found.order, children),
            *(
                line
                for order in orders
                for line in accepted.changes(order, found.order, found.experiment.spec, given)
            ),
        ]
        if mistakes:
            return NotAccepted("\n".join(mistakes), methods or accepted.methods_of(orders) or None)
        return found

    async def _orders(self, key: Key, children: Sequence[Child]) -> list[SharedOrder]:
        """Orders that the newest children were given, as far as they are still there."""
        found = []
        for name in sorted(accepted.orders_of(children)):
            try:
                config_map = await self.cluster.get(CONFIG_MAPS, key.namespace, name)
            except (NotFound, Forbidden) as error:
                log.warning(
                    "what was accepted cannot be compared: %s",
                    error,
                    extra={"namespace": key.namespace, "experiment": key.name},
                )
                continue
            if order := read_order(config_map):
                found.append(order)
        return found
