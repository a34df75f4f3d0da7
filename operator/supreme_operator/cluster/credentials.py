"""Identity with which the operator uses the store of an experiment."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from supreme_core.checking.cluster_spec import CREDENTIALS, SESSION_TOKEN
from supreme_core.errors import StoreUnusable
from supreme_core.store.s3 import S3Credentials
from supreme_operator.cluster.client import Cluster, NotFound
from supreme_operator.cluster.resources import SECRETS
from supreme_operator.deciding.facts import Experiment
from supreme_operator.deciding.policy import Policy, location_of
from supreme_operator.results.location import Location


@dataclass(frozen=True)
class Credentials:
    """The credentials of stores, from the Secrets that experiments name."""

    cluster: Cluster
    policy: Policy

    async def location(self, experiment: Experiment) -> Location:
        """The store, with no credentials where the operator's own identity may be used for it.

        StoreUnusable where it may not, or the Secret does not have what it must have.
        """
        self.policy.check_store(experiment.spec, experiment.owner.namespace)
        return replace(location_of(experiment.spec), credentials=await self._of(experiment))

    async def _of(self, experiment: Experiment) -> S3Credentials | None:
        reference = experiment.spec.storage.credentials_secret_ref
        if reference is None or not self.policy.may_read_secrets:
            return None
        namespace = experiment.owner.namespace
        try:
            secret = await self.cluster.get(SECRETS, namespace, reference.name)
        except NotFound:
            raise StoreUnusable(
                f"spec.storage.credentialsSecretRef names the Secret {reference.name!r}, which is"
                f" not in namespace {namespace}"
            ) from None
        data = secret.get("data") or {}
        access_key, secret_key = (_value(data, key, reference.name) for key in CREDENTIALS)
        token = _value(data, SESSION_TOKEN, reference.name) if SESSION_TOKEN in data else None
        return S3Credentials(access_key, secret_key, token)


def _value(data: Mapping[str, Any], key: str, name: str) -> str:
    try:
        return base64.b64decode(data[key]).decode()
    except KeyError:
        raise StoreUnusable(f"the Secret {name!r} has no {key}") from None
    except (binascii.Error, UnicodeDecodeError):
        raise StoreUnusable(f"{key} of the Secret {name!r} is no text") from None
