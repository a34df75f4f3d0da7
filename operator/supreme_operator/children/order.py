"""The order that all seeds of an experiment share, as a ConfigMap that pods mount."""

import json
from collections.abc import Mapping
from typing import Any, Final

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse_json
from supreme_core.api.orders import SharedOrder
from supreme_core.errors import SpecError
from supreme_operator.children.backend import shared_metadata
from supreme_operator.cluster.resources import KubeObject
from supreme_operator.deciding.facts import Owner

MAX_BYTES: Final = 1_000_000
"""Somewhat less than the 1 MiB that a ConfigMap may hold."""


def read_order(config_map: Mapping[str, Any]) -> SharedOrder | None:
    """Order in such a ConfigMap; None where it holds none, or one of another version."""
    text = (config_map.get("data") or {}).get(names.ORDER_FILE, "")
    try:
        return parse_json(SharedOrder, text.encode(), source=names.ORDER_FILE)
    except SpecError:
        return None


def order_config_map(owner: Owner, order: SharedOrder) -> KubeObject:
    """Immutable, and named by what it holds: a changed experiment has another one."""
    document = order.to_document()
    text = json.dumps(document, sort_keys=True, indent=1, allow_nan=False)
    if len(text.encode()) > MAX_BYTES:
        raise SpecError(
            f"the experiment's order has {len(text.encode())} bytes; a ConfigMap holds {MAX_BYTES}"
        )
    name = names.order_name(owner.name, owner.uid, digest(document))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": shared_metadata(owner, name),
        "immutable": True,
        "data": {names.ORDER_FILE: text},
    }
