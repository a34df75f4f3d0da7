"""A real Kubernetes control plane for tests, as processes of this machine without a node.

etcd and kube-apiserver; where asked for, kube-controller-manager too, so that Jobs make pods and
what is owned goes with its owner. Nothing runs a pod: a test plays the kubelet (kubelet.py).
All are built by Go on first use; SUPREME_REQUIRE_CLUSTER=1 (set by CI) makes it a failure where
they cannot be had, instead of a skip.
"""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from supreme_core.api import names
from tests.cluster.access import Access
from tests.cluster.processes import Server, answers, does_not_start, eventually, free_port, running
from tests.cluster.programs import KUBERNETES

TOKEN = "supreme-tests"
FOR_READERS = "resourceVersion"
"""Fields that the API server adds when an object is read."""
CONTROLLERS_TOKEN = "supreme-tests-controllers"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
)
"""Controllers that experiments, their children and rights to them meet; the others would cost CPU
time."""

SPARING = {**os.environ, "GOGC": "400"}
"""Environment in which programs of Go collect garbage less often, as there is memory."""


@dataclass(frozen=True)
class ControlPlane:
    """admin: who may do everything.  etcd: URL of where its objects are stored."""

    admin: Access
    programs: Path
    api_server: Server
    etcd: str

    def client(self) -> contextlib.AbstractContextManager[client.ApiClient]:
        return self.admin.client()

    def kubectl(self, *arguments: str, access: Access | None = None) -> str:
        """Return what kubectl prints; raise RuntimeError with its output where it fails."""
        access = access or self.admin
        options = ["--server", access.endpoint, "--token", access.token]
        options += ["--certificate-authority", str(access.certificate)]
        cache = access.certificate.with_name("kubectl")
        done = subprocess.run(
            [self.programs / "kubectl", *options, "--cache-dir", cache, *arguments],
            env={"HOME": str(cache)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def store(self, body: Mapping[str, Any]) -> None:
        """Has an object as it stands in another cluster, with its uid and status."""
        kind, group = body["kind"].lower(), body["apiVersion"].rpartition("/")[0]
        place = f"{group}/{kind}s" if "." in group else f"{kind}s"
        metadata = {name: told for name, told in body["metadata"].items() if name != FOR_READERS}
        key = f"/registry/{place}/{metadata['namespace']}/{metadata['name']}"
        put = {"key": key, "value": json.dumps({**body, "metadata": metadata})}
        encoded = {name: b64encode(text.encode()).decode() for name, text in put.items()}
        data = json.dumps(encoded).encode()
        with urllib.request.urlopen(f"{self.etcd}/v3/kv/put", data, timeout=5):
            pass

    def serve(self, definition: Path) -> None:
        """Creates a CustomResourceDefinition and waits until all know it that need to."""
        manifest = yaml.load(definition.read_text(), yaml.CSafeLoader)
        spec = manifest["spec"]
        version = f"{spec['group']}/{spec['versions'][0]['name']}"
        with self.client() as api:
            client.ApiextensionsV1Api(api).create_custom_resource_definition(manifest)
        for path in (f"apis/{version}/{spec['names']['plural']}", f"openapi/v3/apis/{version}"):
            eventually(partial(_found, f"{self.admin.endpoint}/{path}", self.admin.certificate))

    @contextlib.contextmanager
    def namespace(self, *, restricted: bool = False) -> Iterator[str]:
        """The name of a new namespace, in which nothing lives on at the end.

        restricted: whether only pods of the restricted security standard are let in.
        """
        name = f"test-{uuid4().hex[:8]}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
        with self.client() as api:
            core = client.CoreV1Api(api)
            core.create_namespace({"metadata": {"name": name, "labels": labels}})
            eventually(partial(_has_default_account, core, name))
            try:
                yield name
            finally:
                _forget(api, name)

    def restricted_to(self, rules: Sequence[Mapping[str, Any]]) -> Access:
        """A new service account that may do in all namespaces what these rules of RBAC say, which
        the API server goes by a moment after it has stored them."""
        name, namespace = f"test-{uuid4().hex[:8]}", "default"
        metadata = {"metadata": {"name": name}}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        with self.client() as api:
            access = client.RbacAuthorizationV1Api(api)
            access.create_cluster_role({**metadata, "rules": rules})
            access.create_cluster_role_binding({**metadata, "roleRef": role, "subjects": [subject]})
            client.CoreV1Api(api).create_namespaced_service_account(namespace, metadata)
            if rules:
                eventually(partial(_is_allowed, api, f"{namespace}:{name}", rules[0]))
        return self.service_account(namespace, name)

    def service_account(self, namespace: str, name: str) -> Access:
        """The access of a service account that is there, for an hour."""
        request = {"spec": {"audiences": [], "expirationSeconds": 3600}}
        with self.client() as api:
            core = client.CoreV1Api(api)
            answer = core.create_namespaced_service_account_token(name, namespace, request)
        return replace(self.admin, token=answer.status.token)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Stop the API server; at the end it is back at its address with its data."""
        self.api_server.kill()
        try:
            yield
        finally:
            if not self.api_server.start():
                does_not_start("kube-apiserver", self.api_server.log)


@contextlib.contextmanager
def control_plane(
    folder: Path, *, definitions: Sequence[Path] = (), controllers: bool = False
) -> Iterator[ControlPlane]:
    """A control plane on free ports of this machine; its logs stay in `folder`.

    definitions: files of CustomResourceDefinitions. Controllers do not notice for half a minute
        what is defined later.
    """
    programs = KUBERNETES.built()
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(_etcd(programs, folder))
        found = stack.enter_context(_api_server(programs, folder, etcd))
        for definition in definitions:
            found.serve(definition)
        if controllers:
            stack.enter_context(_controllers(found, folder))
        yield found


@contextlib.contextmanager
def _etcd(programs: Path, folder: Path) -> Iterator[str]:
    """The URL of an empty etcd, which does not wait for the disk."""
    data, log = folder / "etcd", folder / "etcd.log"
    for _ in range(3):  # another process may take the free port before the server does
        url = f"http://127.0.0.1:{free_port()}"
        command = [programs / "server", "--data-dir", data, "--unsafe-no-fsync"]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", "http://127.0.0.1:0"]
        try:
            with running(command, log=log, environment=SPARING) as process:
                if answers(process, partial(_found, f"{url}/readyz")):
                    yield url
                    return
        finally:
            shutil.rmtree(data, ignore_errors=True)  # 128 MB even if nothing was written
    does_not_start("etcd", log)


@contextlib.contextmanager
def _api_server(programs: Path, folder: Path, etcd: str) -> Iterator[ControlPlane]:
    log, certificates = folder / "kube-apiserver.log", folder / "certificates"
    tokens = folder / "tokens.csv"
    users = {TOKEN: "admin,admin,system:masters"}
    users[CONTROLLERS_TOKEN] = "system:kube-controller-manager,controllers"
    tokens.write_text("".join(f"{token},{user}\n" for token, user in users.items()))
    for _ in range(3):
        port = free_port()
        endpoint = f"https://127.0.0.1:{port}"
        command = [programs / "kube-apiserver", "--etcd-servers", etcd]
        command += ["--bind-address", "127.0.0.1", "--secure-port", str(port)]
        command += ["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]
        command += ["--service-cluster-ip-range", "10.97.0.0/24"]
        command += ["--cert-dir", certificates, "--token-auth-file", tokens]
        command += ["--authorization-mode", "RBAC"]
        # The key of the self-signed certificate signs tokens of service accounts too.
        key = certificates / "apiserver.key"
        command += ["--service-account-issuer", "https://kubernetes.default.svc"]
        command += ["--service-account-key-file", key, "--service-account-signing-key-file", key]
        certificate = certificates / "apiserver.crt"
        ready = partial(_found, f"{endpoint}/readyz", certificate)
        server = Server(command, log, ready, environment=SPARING)
        try:
            if server.start():
                yield ControlPlane(Access(endpoint, certificate, TOKEN), programs, server, etcd)
                return
        finally:
            server.kill()
    does_not_start("kube-apiserver", log)


@contextlib.contextmanager
def _controllers(found: ControlPlane, folder: Path) -> Iterator[None]:
    """kube-controller-manager, each controller with the rights that Kubernetes gives it."""
    log = folder / "kube-controller-manager.log"
    access = replace(found.admin, token=CONTROLLERS_TOKEN)
    command = [found.programs / "kube-controller-manager", "--secure-port", "0"]
    command += ["--kubeconfig", access.write_kubeconfig(folder / "controllers.json")]
    command += ["--use-service-account-credentials", "--leader-elect=false"]
    command += ["--controllers", ",".join(CONTROLLERS)]
    command += ["--kube-api-qps", "200", "--kube-api-burst", "400"]
    with found.client() as api, running(command, log=log, environment=SPARING) as process:
        default = partial(_has_default_account, client.CoreV1Api(api), "default")
        if not answers(process, default):
            does_not_start("kube-controller-manager", log)
        yield


def _forget(api: client.ApiClient, namespace: str) -> None:
    """Delete what controllers and operators would look after. The namespace stays, as its deletion
    is a hundred requests: two for each kind of objects that the server knows."""
    place = names.GROUP, names.VERSION, namespace, names.PLURAL
    with contextlib.suppress(ApiException):  # of a server that does not know experiments
        client.CustomObjectsApi(api).delete_collection_namespaced_custom_object(*place)
    jobs = client.BatchV1Api(api)
    jobs.delete_collection_namespaced_job(namespace, propagation_policy="Background")
    # No kubelet says that the pods that were on a node are gone.
    client.CoreV1Api(api).delete_collection_namespaced_pod(namespace, grace_period_seconds=0)


def _has_default_account(core: client.CoreV1Api, namespace: str) -> bool:
    """Return whether the namespace can have pods, which shows that the controllers work."""
    accounts = core.list_namespaced_service_account(namespace).items
    return any(account.metadata.name == "default" for account in accounts)


def _is_allowed(api: client.ApiClient, account: str, rule: Mapping[str, Any]) -> bool:
    """Return whether a service account may do what a rule of RBAC says; all rules of its role are
    known at once."""
    resource, _, subresource = rule["resources"][0].partition("/")
    asked = {"group": rule["apiGroups"][0], "resource": resource, "subresource": subresource}
    asked |= {"verb": rule["verbs"][0], "name": rule.get("resourceNames", [""])[0]}
    spec = {"user": f"system:serviceaccount:{account}", "resourceAttributes": asked}
    review = client.AuthorizationV1Api(api).create_subject_access_review({"spec": spec})
    return review.status.allowed


def _found(url: str, certificate: Path | None = None) -> bool:
    """Return whether a server has something at an URL; one that does not answer has not."""
    trust = ssl.create_default_context(cafile=certificate) if certificate else None
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=5, context=trust):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False
