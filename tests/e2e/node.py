"""A real Kubernetes of one node: the control plane on this machine, the node on one of its own.

`python -m tests.e2e.node` starts one to try things on and says how to get at it.
"""

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config

from tests.cluster.control_plane import _etcd
from tests.cluster.go_tools import GoTools
from tests.cluster.processes import answers, does_not_start, eventually, free_port, running
from tests.cluster.programs import KUBERNETES as PROGRAMS
from tests.e2e import environment, image
from tests.e2e.certificates import Authority
from tests.e2e.machine import PAUSE, Machine, machine
from tests.e2e.packages import CNI_PLUGINS, FOR_NODE, NEEDED_IF, PATH

NODE = "node1"
GPUS = 8
DOMAIN = "cluster.local"

KUBERNETES = replace(PROGRAMS, needed_if=NEEDED_IF)
COREDNS = GoTools("coredns", NEEDED_IF)
PYTORCHJOB = GoTools(
    "pytorchjob",
    NEEDED_IF,
    files=(
        (
            "github.com/kubeflow/training-operator",
            "manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
        ),
    ),
)


@dataclass(frozen=True)
class Cluster:
    """kubeconfig: of a user who may do everything.
    host: address of this machine at which pods reach its servers.
    image: has the trainer in it, or this environment mounted where `ours`.
    machine: of the node of a cluster of tests, which is called NODE; None where it is another's.
    """

    kubeconfig: Path
    kubectl_binary: Path
    host: str
    image: str
    machine: Machine | None

    @property
    def ours(self) -> bool:
        """Return whether the cluster is one of tests."""
        return self.machine is not None

    @contextlib.contextmanager
    def client(self) -> Iterator[client.ApiClient]:
        """A client that may do everything."""
        with config.new_client_from_config(str(self.kubeconfig)) as api:
            yield api

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Return what kubectl prints; raise RuntimeError with its output where it fails.  text: its
        input."""
        done = subprocess.run(
            [self.kubectl_binary, "--kubeconfig", self.kubeconfig, *arguments],
            input=text,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def load(self, archive: Path) -> None:
        """Lets pods run the image of an OCI archive; skips the test where the cluster is not ours,
        whose nodes have the image themselves."""
        if self.machine is None:
            pytest.skip(
                "an image is loaded into a node of tests, and SUPREME_E2E_KUBECONFIG is set"
            )
        _load(self.machine, archive)

    def serve(self, definition: Path) -> None:
        """Sees to it that the server knows a CustomResourceDefinition."""
        apply = ("apply", "--server-side", "--force-conflicts", "-f", str(definition))
        kind = "{.spec.group}/{.spec.versions[0].name}/{.spec.names.plural}"
        path = f"apis/{self.kubectl(*apply, '-o', f'jsonpath={kind}')}"
        for each in (path, f"openapi/v3/{path.rpartition('/')[0]}"):
            eventually(partial(self._has, each))

    def _has(self, path: str) -> bool:
        with contextlib.suppress(RuntimeError):
            return bool(self.kubectl("get", "--raw", f"/{path}"))
        return False

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace, in which pods have to keep to the restricted profile."""
        name = f"e2e-{uuid4().hex[:8]}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        with self.client() as api:
            core = client.CoreV1Api(api)
            core.create_namespace({"metadata": {"name": name, "labels": labels}})
            eventually(lambda: core.list_namespaced_service_account(name).items)  # pods need one
            try:
                yield name
            finally:
                core.delete_namespace(name)
                environment.forget(api, name)

    def template(self, namespace: str) -> dict[str, Any]:
        """Return the part of spec.execution.template that the trainer needs in pods of the
        namespace."""
        if not self.ours:
            return {}
        with self.client() as api:
            return environment.mounted(api, namespace)


@contextlib.contextmanager
def cluster(folder: Path, name: str = "supreme-node", network: str = "10.235") -> Iterator[Cluster]:
    """The cluster that SUPREME_E2E_KUBECONFIG names, or one of our own with its logs in `folder`.

    Another cluster's nodes have to know the image SUPREME_E2E_IMAGE, with the trainer in it, and
    reach this machine at the address SUPREME_E2E_HOST.
    """
    if "SUPREME_E2E_KUBECONFIG" in os.environ:
        yield _theirs()
        return
    FOR_NODE.install()
    for tools in (KUBERNETES, COREDNS, PYTORCHJOB, PAUSE):
        tools.built()
    with (
        _terminated_like_interrupted(),
        machine(name, network, folder / "machine.log") as there,
        _Start(there, folder) as start,
    ):
        yield start.everything()


def _theirs() -> Cluster:
    settings = [f"SUPREME_E2E_{name}" for name in ("KUBECONFIG", "HOST", "IMAGE")]
    if missing := [name for name in settings if not os.environ.get(name)]:
        pytest.fail(f"SUPREME_E2E_KUBECONFIG is set, which also needs {' and '.join(missing)}")
    kubeconfig, host, known = (os.environ[name] for name in settings)
    kubectl = shutil.which("kubectl") or KUBERNETES.built() / "kubectl"
    return Cluster(Path(kubeconfig), Path(kubectl), host, known, machine=None)


class _Start(contextlib.ExitStack):
    """Starts what a cluster is made of; stops it in the opposite order."""

    def __init__(self, there: Machine, folder: Path):
        super().__init__()
        self._there = there
        self._logs = folder
        self._state = there.folder
        self._programs = KUBERNETES.built()
        self._authority = Authority(self._state / "certificates")

    def everything(self) -> Cluster:
        endpoint = self._api_server()
        account = partial(self._authority.kubeconfig, endpoint)
        admin = account("admin", group="system:masters")
        found = Cluster(
            admin, self._programs / "kubectl", self._there.host, image.NAME, self._there
        )
        self._controllers(account)
        self.callback(self._there.end)  # before the API server, which waits for its clients
        self._containerd()
        kubelet = self._kubelet(account)
        self._proxy(account)
        self._dns(admin)
        self._pytorchjobs(found)
        with found.client() as api:
            core = client.CoreV1Api(api)
            if not answers(kubelet, partial(_node_is_ready, core)):
                does_not_start("kubelet", self._logs / "kubelet.log")
            gpus = {"nvidia.com/gpu": str(GPUS)}
            core.patch_node_status(NODE, {"status": {"capacity": gpus, "allocatable": gpus}})
        return found

    def _process(
        self,
        name: str,
        command: list[str | Path],
        ready: Callable[[], bool] | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen:
        log = self._logs / f"{name}.log"
        process = self.enter_context(running(command, log=log, environment=environment))
        if ready and not answers(process, ready):
            does_not_start(name, log)
        return process

    def _api_server(self) -> str:
        """Start the API server and return its URL, once it answers."""
        etcd = self.enter_context(_etcd(self._programs, self._logs))
        host, port = self._there.host, free_port(self._there.host)
        first_service = f"{self._there.network}.1.1"
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
        server = self._authority.issue("kube-apiserver", hosts=(host, first_service, *names))
        kubelets = self._authority.issue("kube-apiserver-to-kubelet", group="system:masters")
        tokens = self._authority.keys("service-accounts")
        command = [self._programs / "kube-apiserver", "--etcd-servers", etcd]
        command += ["--bind-address", host, "--secure-port", str(port)]
        command += ["--advertise-address", host]
        command += ["--service-cluster-ip-range", self._there.services]
        command += ["--client-ca-file", self._authority.certificate]
        command += ["--tls-cert-file", server.public, "--tls-private-key-file", server.key]
        command += ["--kubelet-client-certificate", kubelets.public]
        command += ["--kubelet-client-key", kubelets.key]
        command += ["--kubelet-preferred-address-types", "InternalIP"]  # the name is in no DNS
        command += ["--service-account-issuer", "https://kubernetes.default.svc"]
        command += ["--service-account-key-file", tokens.public]
        command += ["--service-account-signing-key-file", tokens.key]
        command += ["--authorization-mode", "Node,RBAC"]
        command += ["--enable-admission-plugins", "NodeRestriction"]
        # It reaches webhooks at their pods: to the addresses of Services there is no way from here.
        command += ["--enable-aggregator-routing"]
        endpoint = f"https://{host}:{port}"
        ready = partial(_answers_ok, f"{endpoint}/readyz", self._authority.certificate)
        self._process("kube-apiserver", command, ready)
        return endpoint

    def _controllers(self, account: Callable[[str], Path]) -> None:
        """Start the controllers and the scheduler. They have no port: others may have theirs
        here."""
        common = ["--leader-elect=false", "--secure-port", "0", "--kubeconfig"]
        manager = account("system:kube-controller-manager")
        command = [self._programs / "kube-controller-manager", *common, manager]
        command += ["--use-service-account-credentials"]
        command += ["--kube-api-qps", "200", "--kube-api-burst", "400"]
        command += ["--pvclaimbinder-sync-period", "1s"]  # else a claim may wait for 15 s
        command += ["--root-ca-file", self._authority.certificate]
        command += ["--service-account-private-key-file", manager.with_name("service-accounts.key")]
        self._process("kube-controller-manager", command)
        scheduler = account("system:kube-scheduler")
        self._process("kube-scheduler", [self._programs / "kube-scheduler", *common, scheduler])

    def _containerd(self) -> None:
        networks = self._state / "cni"
        networks.mkdir()
        network = {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": self._there.pods}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (networks / "pods.conflist").write_text(json.dumps(network))
        settings = self._state / "containerd.toml"
        settings.write_text(
            f"""
            version = 2
            root = "{self._state}/containerd"
            [plugins."io.containerd.grpc.v1.cri"]
            sandbox_image = "{image.NAME}"
            restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE it cannot be lowered
            cni.bin_dir = "{CNI_PLUGINS}"
            cni.conf_dir = "{networks}"
            """
        )
        archive = self._state / "image.tar"
        image.write_image(archive, PAUSE.built() / "pause")
        answer = partial(_succeeds, self._there.inside("ctr", "version"))
        command = self._there.inside("containerd", "--config", settings)
        self._process("containerd", command, answer)
        _load(self._there, archive)

    def _kubelet(self, account: Callable[..., Path]) -> subprocess.Popen:
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"x509": {"clientCAFile": str(self._authority.certificate)}},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._there.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [self._there.address],
            "clusterDomain": DOMAIN,
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            "evictionHard": {},
            "podLogsDir": str(self._logs / "pods"),
        }
        file = self._state / "kubelet.json"
        file.write_text(json.dumps(settings))
        command = [self._programs / "kubelet", "--config", file]
        command += ["--kubeconfig", account(f"system:node:{NODE}", group="system:nodes")]
        command += ["--hostname-override", NODE, "--node-ip", self._there.address]
        command += ["--root-dir", self._state / "kubelet"]
        return self._process("kubelet", self._there.inside(*command))

    def _proxy(self, account: Callable[[str], Path]) -> None:
        command = [self._programs / "kube-proxy", "--kubeconfig", account("system:kube-proxy")]
        command += ["--hostname-override", NODE, "--proxy-mode", "nftables"]
        # Pods are on one bridge: an answer would not come back through the proxy by itself.
        command += ["--masquerade-all"]
        command += ["--conntrack-max-per-core", "0"]
        command += ["--conntrack-tcp-timeout-established", "0s"]
        command += ["--conntrack-tcp-timeout-close-wait", "0s"]
        self._process("kube-proxy", self._there.inside(*command))

    def _dns(self, admin: Path) -> None:
        address = self._there.address
        file = self._state / "Corefile"
        file.write_text(
            f"""
            {DOMAIN} in-addr.arpa {{
                bind {address}
                errors
                ready {address}:8181
                kubernetes {DOMAIN} in-addr.arpa {{
                    kubeconfig {admin}
                }}
            }}
            """
        )
        command = self._there.inside(COREDNS.built() / "coredns", "-conf", file)
        self._process("coredns", command, partial(_answers_ok, f"http://{address}:8181/ready"))

    def _pytorchjobs(self, there: Cluster) -> None:
        programs = PYTORCHJOB.built()
        there.serve(programs / "kubeflow.org_pytorchjobs.yaml")
        access = {"KUBECONFIG": str(there.kubeconfig)}
        self._process("pytorchjob", [programs / "pytorchjob"], environment=access)


def _load(there: Machine, archive: Path) -> None:
    there.run("ctr", "--namespace", "k8s.io", "images", "import", archive)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Makes SIGTERM end the tests like Ctrl-C, which lets everything be stopped first."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _node_is_ready(core: client.CoreV1Api) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True"
        for node in core.list_node().items
        for condition in node.status.conditions or ()
    )


def _answers_ok(url: str, authority: Path | None = None) -> bool:
    trust = ssl.create_default_context(cafile=authority) if authority else None
    with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
        return answer.status == 200


def _succeeds(command: list[str | Path]) -> bool:
    return subprocess.run(command, env={"PATH": PATH}, capture_output=True).returncode == 0


def main() -> None:
    try:
        with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as found:
            print(f"export KUBECONFIG={found.kubeconfig}", flush=True)
            print(f"alias kubectl={found.kubectl_binary}", flush=True)
            print(f"logs are in {folder}; Ctrl-C ends it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except (pytest.fail.Exception, pytest.skip.Exception) as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
