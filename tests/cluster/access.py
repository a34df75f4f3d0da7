"""Whom a client is to the API server, and where it finds it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client


@dataclass(frozen=True)
class Access:
    """certificate: what signed that of the server."""

    endpoint: str
    certificate: Path
    token: str

    @contextlib.contextmanager
    def client(self) -> Iterator[client.ApiClient]:
        settings = client.Configuration(host=self.endpoint)
        settings.ssl_ca_cert = str(self.certificate)
        settings.api_key = {"authorization": f"Bearer {self.token}"}
        with client.ApiClient(settings) as api:
            yield api

    def write_kubeconfig(self, path: Path) -> Path:
        """The file for programs such as kubectl and kopf."""
        cluster = {"server": self.endpoint, "certificate-authority": str(self.certificate)}
        one = {
            "clusters": {"cluster": cluster},
            "users": {"user": {"token": self.token}},
            "contexts": {"context": {"cluster": "one", "user": "one"}},
        }
        lists = {name: [{"name": "one", **entry}] for name, entry in one.items()}
        file = {"apiVersion": "v1", "kind": "Config", "current-context": "one", **lists}
        path.write_text(json.dumps(file))
        return path
