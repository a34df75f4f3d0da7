"""Children as objects of Kubernetes: what is made of an experiment, and what is read off them.

| part                       | how                                                              |
| -------------------------- | ---------------------------------------------------------------- |
| the pod                    | tables of the spec's fields and what becomes of them             |
| each kind of child         | the same; and that the trainer understands what its pod is told  |
| what a template may say    | a table of mistakes with the words in which they are refused     |
| children and pods observed | tables of status; any part of a body may be missing              |
| names                      | any name, seed and attempt that there can be                     |

That an API server takes all this: tests/cluster/test_children.py. That pods run: tests/e2e.
"""

import json
import re
from copy import deepcopy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supreme_operator.children import BACKENDS, choose, readers
from supreme_operator.children.backend import ChildOrder
from supreme_operator.children.order import MAX_BYTES, order_config_map
from supreme_operator.children.pod import observe_pod
from supreme_operator.deciding.admission import admit, shared_order
from supreme_operator.deciding.facts import Attempt, ChildState, Owner
from supreme_trainer.process import pod as trainer

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import SharedOrder
from supreme_core.checking.cluster_spec import check_cluster_spec
from supreme_core.errors import SpecError
from tests.operator.looks import CATALOG, UID, resource
from tests.operator.manifests import (
    ATTEMPT,
    CHILD,
    FAMILY,
    LARGE,
    ORDER,
    OWNER,
    child,
    container,
    pod,
    spec,
    template_of,
    variables,
)

EVERY_KIND = pytest.mark.parametrize("kind", BACKENDS)


class TestPod:
    def test_it_keeps_to_the_restricted_security_standard(self):
        made = pod()
        assert made["securityContext"]["runAsNonRoot"] is True
        assert made["securityContext"]["runAsUser"] == made["securityContext"]["fsGroup"] == 65532
        assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert made["automountServiceAccountToken"] is False
        assert made["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    @EVERY_KIND
    def test_the_platform_may_say_as_whom_it_runs(self, kind):
        order = ChildOrder(config_map="order", work=ORDER.work, has_user=False)
        made = template_of(BACKENDS[kind].render(OWNER, spec(), ATTEMPT, order))["spec"]
        assert made["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }

    def test_its_command_is_understood_by_the_trainer(self):
        program, *arguments = container()["command"][2:]
        options = trainer._options(arguments)
        assert program == "supreme_trainer.pod"
        assert (options.seed, options.attempt, options.device) == (260, 2, "cpu")
        assert str(options.termination) == "/dev/termination-log"
        (mount,) = [each for each in container()["volumeMounts"] if each["name"] == "order"]
        assert str(options.order) == f"{mount['mountPath']}/{names.ORDER_FILE}"

    def test_gpus_make_it_a_pod_that_insists_on_cuda(self):
        made = container(gpusPerNode=2, training={"microBatches": 2})
        assert made["command"][-2:] == ["--device", "cuda"]
        assert made["resources"]["limits"] == {"nvidia.com/gpu": "2"}
        assert made["resources"]["requests"] == {"nvidia.com/gpu": "2"}

    @pytest.mark.parametrize(
        ("asked", "limits", "requests"),
        [
            ({}, None, None),
            (
                {"cpu": "8", "memory": "32Gi"},
                {"cpu": "8", "memory": "32Gi"},
                {"cpu": "8", "memory": "32Gi"},
            ),
            (
                {"cpu": "8", "requests": {"cpu": "4"}},
                {"cpu": "8"},
                {"cpu": "4"},
            ),
            (
                {"ephemeralStorage": "9Gi", "limits": {"rdma/hca": "1"}},
                {"ephemeral-storage": "9Gi", "rdma/hca": "1"},
                {"ephemeral-storage": "9Gi"},
            ),
        ],
        ids=["none", "limits", "both", "more limits"],
    )
    def test_requests_are_the_limits_unless_both_are_given(self, asked, limits, requests):
        made = container(resources=asked).get("resources", {})
        assert (made.get("limits"), made.get("requests")) == (limits, requests)

    def test_another_vendor_names_its_gpus_itself(self):
        made = container(gpusPerNode=1, gpuResourceName="amd.com/gpu")
        assert made["resources"]["limits"] == {"amd.com/gpu": "1"}

    def test_it_can_write_to_its_scratch_folder_and_to_shared_memory_only(self):
        volumes = {each["name"]: each for each in pod(resources={"sharedMemory": "2Gi"})["volumes"]}
        mounts = {each["mountPath"]: each["name"] for each in container()["volumeMounts"]}
        assert mounts == {"/etc/supreme": "order", "/tmp": "tmp", "/dev/shm": "dshm"}
        assert volumes["order"]["configMap"] == {"name": "three-order"}
        assert volumes["tmp"]["emptyDir"] == {}
        assert volumes["dshm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
        assert all(
            folder.startswith("/tmp")
            for name, folder in variables().items()
            if name in ("HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
        )

    def test_credentials_come_from_the_secret_and_the_token_may_be_missing(self):
        found = variables(storage={"credentialsSecretRef": {"name": "s3"}})
        assert found["AWS_ACCESS_KEY_ID"] == {
            "secretKeyRef": {"name": "s3", "key": "AWS_ACCESS_KEY_ID"}
        }
        assert found["AWS_SECRET_ACCESS_KEY"] == {
            "secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}
        }
        assert found["AWS_SESSION_TOKEN"]["secretKeyRef"]["optional"] is True
        assert not [name for name in variables() if name.startswith("AWS_")]

    def test_the_record_of_what_it_ran_on_has_the_image(self):
        assert variables(image="trainer@sha256:0")["SUPREME_IMAGE"] == "trainer@sha256:0"

    def test_it_names_the_port_of_its_metrics_and_the_trainer_is_told(self):
        [port] = container()["ports"]
        assert port == {"name": "metrics", "containerPort": 9400}
        assert variables()["SUPREME_METRICS_PORT"] == "9400"

    def test_torchrun_leaves_ranks_the_time_that_the_pod_has(self):
        found = variables(template={"terminationGracePeriodSeconds": 300})
        assert found["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "300"

    @EVERY_KIND
    def test_what_the_template_says_is_in_it(self, kind):
        affinity = {"nodeAffinity": {}}
        template = {
            "labels": {"team": "a"},
            "annotations": {"sidecar.istio.io/inject": "false"},
            "serviceAccountName": "runner",
            "imagePullSecrets": ["registry", {"name": "mirror"}],
            "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "HOME", "value": "/data"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "nodeSelector": {"zone": "b"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "affinity": affinity,
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "terminationGracePeriodSeconds": 90,
        }
        scheduling = {
            "priorityClassName": "low",
            "schedulerName": "volcano",
            "runtimeClassName": "nvidia",
        }
        made = pod(kind, template=template, scheduling=scheduling)
        metadata = template_of(child(kind, template=template))["metadata"]
        found = variables(kind, template=template)
        assert metadata["labels"]["team"] == "a"
        assert child(kind, template=template)["metadata"]["labels"]["team"] == "a"
        assert metadata["annotations"] == {"sidecar.istio.io/inject": "false"}
        assert (found["NCCL_DEBUG"], found["HOME"]) == ("INFO", "/data")
        assert made["volumes"][-1] == template["volumes"][0]
        assert made["containers"][0]["volumeMounts"][-1] == template["volumeMounts"][0]
        assert made["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
        kept = (
            "serviceAccountName",
            "nodeSelector",
            "tolerations",
            "affinity",
            "topologySpreadConstraints",
            "terminationGracePeriodSeconds",
        )
        assert {field: made[field] for field in kept} == {field: template[field] for field in kept}
        assert {field: made[field] for field in scheduling} == scheduling

    @EVERY_KIND
    def test_the_deadline_of_a_seed_is_that_of_its_pods(self, kind):
        assert pod(kind, spec={"seedActiveDeadlineSeconds": 99})["activeDeadlineSeconds"] == 99
        assert "activeDeadlineSeconds" not in pod(kind)

    @EVERY_KIND
    def test_it_is_tried_once_and_says_who_it_is(self, kind):
        labels = template_of(child(kind))["metadata"]["labels"]
        assert pod(kind)["restartPolicy"] == "Never"
        assert container(kind)["terminationMessagePolicy"] == "File"
        assert labels == {
            "app.kubernetes.io/name": "supreme-trainer",
            "app.kubernetes.io/managed-by": "supreme-operator",
            "supreme.dev/experiment": "three",
            "supreme.dev/experiment-uid": UID,
            "supreme.dev/seed": "260",
            "supreme.dev/index": "4",
            "supreme.dev/attempt": "2",
        }


def budget(disruptions):
    return {"spec": {"failurePolicy": {"maxDisruptionsPerSeed": disruptions}}}


class TestKinds:
    @EVERY_KIND
    def test_a_child_belongs_to_its_experiment_and_says_what_it_computes(self, kind):
        metadata = child(kind)["metadata"]
        assert (metadata["name"], metadata["namespace"]) == (CHILD, "research")
        assert metadata["annotations"] == {
            "supreme.dev/retries": "1",
            "supreme.dev/disruptions": "1",
            "supreme.dev/work": "ab" * 32,
            "supreme.dev/backend": kind,
            "supreme.dev/template": BACKENDS[kind].template(OWNER, spec(), ORDER),
        }
        (reference,) = metadata["ownerReferences"]
        assert reference == {
            "apiVersion": "supreme.dev/v1alpha1",
            "kind": "UnlearningExperiment",
            "name": "three",
            "uid": UID,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    @EVERY_KIND
    def test_what_it_is_made_of_is_the_same_for_every_attempt_and_another_for_another_spec(
        self, kind
    ):
        def template(*, attempt=ATTEMPT, order=ORDER, **changes):
            made = BACKENDS[kind].render(OWNER, spec(**changes), attempt, order)
            return made["metadata"]["annotations"]["supreme.dev/template"]

        assert template(attempt=Attempt(seed=9, index=0)) == template()
        assert template(spec={"parallelism": 1}) == template()
        others = [
            template(image="trainer:2"),
            template(template={"nodeSelector": {"zone": "b"}}),
            template(scheduling={"queueName": "team-a"}),
            template(order=ChildOrder(config_map="another", work=ORDER.work)),
        ]
        assert len({template(), *others}) == 5

    @EVERY_KIND
    def test_kueue_is_told_on_the_child_alone_and_suspends_it_alone(self, kind):
        queue = {"queueName": "team-a", "workloadPriorityClass": "low"}
        made = child(kind, scheduling=queue)
        labels = made["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == "team-a"
        assert labels["kueue.x-k8s.io/priority-class"] == "low"
        assert "kueue" not in json.dumps(template_of(made))
        assert "kueue" not in json.dumps(child(kind))
        assert "suspend" not in json.dumps(made)

    def test_a_job_is_tried_once_and_tells_why_it_failed(self):
        made = child()["spec"]
        assert (made["completions"], made["parallelism"], made["backoffLimit"]) == (1, 1, 0)
        assert made["podReplacementPolicy"] == "Failed"
        first, second = made["podFailurePolicy"]["rules"]
        assert first["onPodConditions"] == [{"type": "DisruptionTarget"}]
        assert second["onExitCodes"] == {
            "containerName": "pytorch",
            "operator": "NotIn",
            "values": [0],
        }
        assert first["action"] == second["action"] == "FailJob"

    def test_the_pods_of_an_indexed_job_meet_at_the_first_one(self):
        made = child("IndexedJob", nodes=3, distribution="Data")["spec"]
        assert (made["completions"], made["parallelism"]) == (3, 3)
        assert (made["completionMode"], made["backoffLimit"]) == ("Indexed", 0)
        found = variables("IndexedJob", nodes=3)
        assert found["PET_RDZV_ENDPOINT"] == f"{CHILD}-0.{FAMILY}:29400"
        assert (found["PET_RDZV_BACKEND"], found["PET_RDZV_ID"]) == ("c10d", CHILD)
        assert pod("IndexedJob", nodes=3)["subdomain"] == FAMILY

    @pytest.mark.parametrize(
        ("kind", "changes", "losses"),
        [
            ("IndexedJob", {"nodes": 2}, 19),
            ("IndexedJob", {"nodes": 2, **budget(3)}, 2),
            ("IndexedJob", {"nodes": 2, **budget(1)}, 0),
            ("IndexedJob", {"nodes": 2, **budget(0)}, 0),
            ("IndexedJob", {"nodes": 2, "distribution": "Data"}, 0),
            ("IndexedJob", {"nodes": 1}, 0),
            ("Job", {"nodes": 1}, 0),
        ],
        ids=["stages", "a budget", "spent", "none", "ranks", "one pod", "a Job"],
    )
    def test_a_job_may_lose_as_many_pods_as_its_seed_has_disruptions_left(
        self, kind, changes, losses
    ):
        """ATTEMPT has cost one before. Each pod goes on alone only where they share out stages."""
        made = child(kind, **{"distribution": "Stages", **changes})["spec"]
        assert made["backoffLimit"] == losses
        actions = [rule["action"] for rule in made["podFailurePolicy"]["rules"]]
        assert actions == (["Count", "Count", "FailJob"] if losses else ["FailJob", "FailJob"])

    def test_a_pod_is_made_again_where_the_cluster_took_it_and_nowhere_else(self):
        made = child("IndexedJob", nodes=2, distribution="Stages")["spec"]
        disrupted, stopped, rest = made["podFailurePolicy"]["rules"]
        assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget"}]
        assert stopped["onExitCodes"] == {
            "containerName": "pytorch",
            "operator": "In",
            "values": [130, 143],
        }
        assert rest["onExitCodes"] == {"operator": "NotIn", "values": [0]}

    def test_a_pod_that_may_have_taken_too_long_is_not_made_again(self):
        """The kubelet tells it to stop, and a policy of pods cannot ask for the reason."""
        limit = {"spec": {"seedActiveDeadlineSeconds": 99}}
        made = child("IndexedJob", nodes=2, distribution="Stages", **limit)["spec"]
        rules = made["podFailurePolicy"]["rules"]
        assert [rule["action"] for rule in rules] == ["Count", "FailJob"]

    def test_the_service_names_pods_that_are_not_ready(self):
        service = BACKENDS["IndexedJob"].service(OWNER)
        assert (service["metadata"]["name"], service["metadata"]["namespace"]) == (
            FAMILY,
            "research",
        )
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        labels = template_of(child("IndexedJob", nodes=2))["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()

    @pytest.mark.parametrize("kind", ["Job", "PyTorchJob"])
    def test_no_other_kind_needs_a_service_of_ours(self, kind):
        assert BACKENDS[kind].service(OWNER) is None

    def test_a_pytorchjob_has_workers_only_who_come_all_or_none(self):
        made = child("PyTorchJob", nodes=2, processesPerNode=4)["spec"]
        assert made["elasticPolicy"] == {
            "minReplicas": 2,
            "maxReplicas": 2,
            "rdzvBackend": "c10d",
            "maxRestarts": 0,
        }
        assert made["nprocPerNode"] == "4"
        assert made["runPolicy"] == {"cleanPodPolicy": "Running"}
        (worker,) = made["pytorchReplicaSpecs"].items()
        assert (worker[0], worker[1]["replicas"]) == ("Worker", 2)
        assert worker[1]["restartPolicy"] == "Never"

    @pytest.mark.parametrize("processes", [1, 2])
    @pytest.mark.parametrize(("kind", "nodes"), [("Job", 1), ("IndexedJob", 1), ("IndexedJob", 4)])
    def test_the_trainer_starts_the_processes_that_the_spec_asks_for(self, kind, nodes, processes):
        found = variables(kind, nodes=nodes, processesPerNode=processes)
        launch = trainer.Launch.told_by({**found, "JOB_COMPLETION_INDEX": "0"})
        assert launch.ranks == processes
        assert bool(launch.torchrun) == (nodes * processes > 1)

    def test_a_pytorchjob_leaves_it_to_its_controller_to_tell_torchrun(self):
        found = variables("PyTorchJob", nodes=2, processesPerNode=2)
        assert not [name for name in found if name.startswith("PET_")]


@pytest.mark.parametrize(
    ("asked", "nodes", "served", "chosen"),
    [
        ("Auto", 1, {"PyTorchJob"}, "Job"),
        ("Auto", 2, {"PyTorchJob"}, "PyTorchJob"),
        ("Auto", 2, set(), "IndexedJob"),
        ("IndexedJob", 1, {"PyTorchJob"}, "IndexedJob"),
        ("PyTorchJob", 2, set(), "PyTorchJob"),
    ],
)
def test_auto_takes_the_simplest_kind_that_can(asked, nodes, served, chosen):
    whole = spec(backend=asked, nodes=nodes, distribution="Data")
    assert choose(whole, served) == chosen


@pytest.mark.parametrize("distribution", ["Stages", "Auto"])
def test_auto_takes_the_kind_that_goes_on_without_a_pod_where_stages_are_shared_out(distribution):
    whole = spec(nodes=3, distribution=distribution)
    assert choose(whole, {"PyTorchJob"}) == "IndexedJob"
    assert choose(spec(nodes=4, distribution="Data"), {"PyTorchJob"}) == "PyTorchJob"


class TestOrder:
    ADMITTED = admit(resource(), CATALOG, defaults={})
    ORDER = shared_order(ADMITTED.experiment, ADMITTED.order)

    def test_pods_read_what_was_ordered(self):
        made = order_config_map(OWNER, self.ORDER)
        data = made["data"][names.ORDER_FILE].encode()
        assert parse_json(SharedOrder, data, source="order") == self.ORDER
        assert made["immutable"] is True
        assert made["metadata"]["ownerReferences"][0]["uid"] == UID

    def test_another_order_has_another_name_and_the_same_one_the_same(self):
        name, same, other = (
            order_config_map(OWNER, each)["metadata"]["name"]
            for each in (
                self.ORDER,
                self.ORDER.model_copy(),
                self.ORDER.model_copy(update={"store": "s3://bucket/other"}),
            )
        )
        assert name == same
        assert other != name

    def test_one_that_no_config_map_holds_is_refused(self):
        component = self.ORDER.work.model.model_copy(update={"params": {"x": "y" * MAX_BYTES}})
        work = self.ORDER.work.model_copy(update={"model": component})
        with pytest.raises(SpecError, match=f"bytes; a ConfigMap holds {MAX_BYTES}"):
            order_config_map(OWNER, self.ORDER.model_copy(update={"work": work}))


VOLUME = {"name": "data", "emptyDir": {}}
AT = "spec.execution.template"


def with_template(**fields):
    return {"template": fields}


MISTAKES = {
    "no image": ({"image": None}, "spec.execution.image is missing"),
    "no store": ({"storage": {"uri": None}}, "spec.storage.uri is missing"),
    "a folder": ({"storage": {"uri": "/data"}}, "spec.storage.uri is '/data'; on a cluster it"),
    "ranks": (
        {"nodes": 3, "distribution": "Data"},
        "spec.training.microBatches is 16, which the 3 ranks of spec.execution do not divide;"
        " let the number of ranks be a power of two, and microBatches at least as large",
    ),
    "more processes than GPUs": (
        {"gpusPerNode": 2, "processesPerNode": 4},
        "spec.execution.processesPerNode is 4, but gpusPerNode is 2",
    ),
    "more processes than GPUs, each a rank": (
        {"gpusPerNode": 2, "processesPerNode": 4, "distribution": "Data"},
        "spec.execution.processesPerNode is 4, but gpusPerNode is 2",
    ),
    "GPUs twice": (
        {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        "spec.execution.resources.limits has 'nvidia.com/gpu'; say how many by"
        " spec.execution.gpusPerNode",
    ),
    "a resource": (
        {"resources": {"requests": {"c p u": "1"}}},
        "spec.execution.resources.requests has 'c p u', which can be no resource",
    ),
    "a resource without a domain": (
        {"resources": {"limits": {"gpu": "1"}}},
        "spec.execution.resources.limits has 'gpu', which can be no resource",
    ),
    "a resource of quotas": (
        {"resources": {"requests": {"pods": "1"}}},
        "spec.execution.resources.requests has 'pods', which can be no resource",
    ),
    **{
        f"GPUs called {name}": (
            {"gpuResourceName": name},
            f"spec.execution.gpuResourceName is '{name}', which is no resource of a device plug-in",
        )
        for name in (
            "a b",
            "cpu",
            "memory",
            "ephemeral-storage",
            "hugepages-2Mi",
            "storage",
            "pods",
            "gpu",
            "kubernetes.io/cpu",
            "alpha.kubernetes.io/gpu",
            "requests.nvidia.com/gpu",
        )
    },
    "a Secret": (
        {"storage": {"credentialsSecretRef": {"name": "S3"}}},
        "spec.storage.credentialsSecretRef.name is 'S3', which can be no name",
    ),
    "a service account": (
        with_template(serviceAccountName="a/b"),
        f"{AT}.serviceAccountName is 'a/b'",
    ),
    "a pull secret": (
        with_template(imagePullSecrets=["ok", {"name": ""}]),
        f"{AT}.imagePullSecrets[1] is ''",
    ),
    "a queue": (
        {"scheduling": {"queueName": "a b"}},
        "spec.execution.scheduling.queueName is 'a b'",
    ),
    "our label": (
        with_template(labels={"supreme.dev/seed": "1"}),
        f"{AT}.labels has 'supreme.dev/seed', which is reserved for controllers",
    ),
    "the training operator's label": (
        with_template(labels={"training.kubeflow.org/job-name": "q"}),
        "'training.kubeflow.org/job-name', which is reserved",
    ),
    "Kubernetes' own label": (
        with_template(labels={"batch.kubernetes.io/job-name": "q"}),
        "'batch.kubernetes.io/job-name', which is reserved",
    ),
    "Kubernetes' old label": (with_template(labels={"job-name": "q"}), "'job-name', which is"),
    "our annotation": (
        with_template(annotations={"supreme.dev/retries": "0"}),
        f"{AT}.annotations has 'supreme.dev/retries', which is reserved for controllers",
    ),
    "the name of our pods": (
        with_template(labels={"app.kubernetes.io/name": "x"}),
        "'app.kubernetes.io/name', which is reserved",
    ),
    "a label's key": (
        with_template(labels={"a b": "c"}),
        f"{AT}.labels has 'a b', which can be no",
    ),
    "a label's value": (with_template(labels={"a": "b c"}), f"{AT}.labels has 'a': 'b c'; use"),
    "an annotation's key": (
        with_template(annotations={"/x": "c"}),
        f"{AT}.annotations has '/x', which can be no key of annotations",
    ),
    "a rank": (
        with_template(env=[{"name": "RANK", "value": "0"}]),
        f"{AT}.env[0].name is RANK, which the trainer's processes are told by; leave it out",
    ),
    "torchrun's variable": (
        with_template(env=[{"name": "OK"}, {"name": "PET_NNODES", "value": "2"}]),
        f"{AT}.env[1].name is PET_NNODES",
    ),
    "our variable": (with_template(env=[{"name": "SUPREME_IMAGE", "value": ""}]), "SUPREME_IMAGE"),
    "credentials twice": (
        {
            "storage": {"credentialsSecretRef": {"name": "s3"}},
            **with_template(env=[{"name": "AWS_ACCESS_KEY_ID", "value": "a"}]),
        },
        f"{AT}.env[0].name is AWS_ACCESS_KEY_ID, which spec.storage.credentialsSecretRef gives",
    ),
    "a variable twice": (
        with_template(env=[{"name": "A", "value": "b"}, {"name": "A", "value": "c"}]),
        f"{AT}.env[1].name is A, which stands there twice",
    ),
    "a variable without a name": (
        with_template(env=[{"value": "b"}]),
        f"{AT}.env[0].name is required and was not given",
    ),
    "a variable's name": (
        with_template(env=[{"name": "1 A"}]),
        f'{AT}.env[0].name is "1 A"; it should match',
    ),
    "a number": (
        with_template(env=[{"name": "A", "value": 1}]),
        f"{AT}.env[0].value is 1; it should be a valid string",
    ),
    "a source of values": (
        with_template(env=[{"name": "A", "valueFrom": {"fileKeyRef": {}}}]),
        f"{AT}.env[0].valueFrom.fileKeyRef: unknown field 'fileKeyRef'; did you mean",
    ),
    "no source of values": (
        with_template(env=[{"name": "A", "valueFrom": {}}]),
        f"{AT}.env[0].valueFrom: give exactly one of secretKeyRef, configMapKeyRef, fieldRef,",
    ),
    "a value and a source": (
        with_template(
            env=[{"name": "A", "value": "", "valueFrom": {"fieldRef": {"fieldPath": "b"}}}]
        ),
        f"{AT}.env[0]: give either value or valueFrom, not both",
    ),
    "hostPath": (
        with_template(volumes=[{"name": "data", "hostPath": {"path": "/"}}]),
        f"{AT}.volumes[0].hostPath: unknown field 'hostPath'; allowed: configMap, emptyDir,",
    ),
    "a token of another identity": (
        with_template(volumes=[{"name": "data", "projected": {"sources": []}}]),
        f"{AT}.volumes[0].projected: unknown field 'projected'; allowed: configMap,",
    ),
    "two kinds of volume": (
        with_template(volumes=[{**VOLUME, "secret": {"secretName": "s"}}]),
        f"{AT}.volumes[0]: give exactly one of configMap, secret, persistentVolumeClaim,",
    ),
    "our volume": (
        with_template(volumes=[{"name": "tmp", "emptyDir": {}}]),
        f"{AT}.volumes[0].name is 'tmp', which is taken",
    ),
    "a volume's name": (
        with_template(volumes=[{"name": "a.b", "emptyDir": {}}]),
        f'{AT}.volumes[0].name is "a.b"; it should match',
    ),
    "a volume twice": (
        with_template(volumes=[VOLUME, VOLUME]),
        f"{AT}.volumes[1].name is 'data', which is taken",
    ),
    "a mount of nothing": (
        with_template(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        f"{AT}.volumeMounts[0].name is 'data', which is none of {AT}.volumes",
    ),
    "propagation": (
        with_template(
            volumes=[VOLUME],
            volumeMounts=[{"name": "data", "mountPath": "/d", "mountPropagation": "Bidirectional"}],
        ),
        f"{AT}.volumeMounts[0].mountPropagation: unknown field 'mountPropagation'",
    ),
    "a toleration": (
        with_template(tolerations=[{"key": "gpu", "operator": "Exist"}]),
        f"{AT}.tolerations[0].operator is \"Exist\"; allowed: Exists, Equal; did you mean 'Exists'",
    ),
    "an affinity": (
        with_template(affinity={"nodeAffinty": {}}),
        f"{AT}.affinity.nodeAffinty: unknown field 'nodeAffinty'; did you mean 'nodeAffinity'?",
    ),
    "deep in an affinity": (
        with_template(
            affinity={
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]
                }
            }
        ),
        f"{AT}.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
        ".topologyKey is required",
    ),
    "a spread": (
        with_template(topologySpreadConstraints=[{"maxSkew": 0}]),
        f"{AT}.topologySpreadConstraints[0].maxSkew is 0; it should be greater than",
    ),
    "a node's label": (
        with_template(nodeSelector={"a": "b/c"}),
        f"{AT}.nodeSelector has 'a': 'b/c'; use letters",
    ),
}


class TestWhatATemplateMaySay:
    @pytest.mark.parametrize(("changes", "words"), MISTAKES.values(), ids=MISTAKES)
    def test_a_mistake_is_refused_with_its_field(self, changes, words):
        with pytest.raises(SpecError, match=f"(?m)^.*{re.escape(words)}"):
            check_cluster_spec(spec(**changes))

    @pytest.mark.parametrize(
        "path",
        [
            *("/", "/etc", "/etc/supreme", "/tmp", "/dev/shm", "//tmp", "/tmp/", "/a/../tmp", ""),
            *("data", "/a:b", "/proc/x", "/sys", "/dev/x", "/var/run/secrets/a", "/etc/supreme/x"),
        ],
    )
    def test_no_volume_takes_the_place_of_what_is_needed(self, path):
        template = {"volumes": [VOLUME], "volumeMounts": [{"name": "data", "mountPath": path}]}
        with pytest.raises(SpecError, match=re.escape(f"{AT}.volumeMounts[0].mountPath is")):
            check_cluster_spec(spec(template=template))

    @pytest.mark.parametrize("path", ["/data", "/etc/ssl/certs", "/tmp/data", "/home/a-b.c_d"])
    def test_elsewhere_a_volume_may_be(self, path):
        template = {"volumes": [VOLUME], "volumeMounts": [{"name": "data", "mountPath": path}]}
        check_cluster_spec(spec(template=template))

    def test_two_volumes_cannot_be_at_one_place(self):
        mounts = [{"name": "data", "mountPath": "/data"}] * 2
        with pytest.raises(SpecError, match=r"volumeMounts\[1\].mountPath is '/data', which is"):
            check_cluster_spec(spec(template={"volumes": [VOLUME], "volumeMounts": mounts}))

    def test_all_mistakes_are_named_at_once(self):
        with pytest.raises(SpecError) as raised:
            check_cluster_spec(spec(image=None, storage={"uri": None}, template={"env": [{}]}))
        assert len(str(raised.value).splitlines()) == 3

    def test_what_pods_usually_need_is_allowed(self):
        check_cluster_spec(spec(template=LARGE))


def observed(kind, status=None, **changes):
    """A child as the API server gives it back, once it has been made."""
    body = child(kind, **changes)
    body["metadata"] |= {"uid": "child-uid", "creationTimestamp": "2026-03-01T12:00:00Z"}
    body["status"] = status or {}
    return body


def condition(type_, **facts):
    return {"type": type_, "status": "True", "lastTransitionTime": "2026-03-01T12:30:00Z", **facts}


HALF_PAST = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EXIT = (
    "Container pytorch for pod research/three-x with exit code failed with exit code 137 matching"
    " FailJob rule at index 1"
)
DISRUPTION = "Pod research/three-x has condition DisruptionTarget matching FailJob rule at index 0"

STATES = {
    "a new Job": ("Job", {}, ChildState.WAITING),
    "a Job whose pod is there": ("Job", {"active": 1, "ready": 0}, ChildState.WAITING),
    "a Job that runs": ("Job", {"active": 1, "ready": 1}, ChildState.RUNNING),
    "one pod of two": ("IndexedJob", {"active": 2, "ready": 1}, ChildState.WAITING),
    "two pods of two": ("IndexedJob", {"active": 2, "ready": 2}, ChildState.RUNNING),
    "one that is done already": (
        "IndexedJob",
        {"active": 1, "ready": 1, "succeeded": 1},
        ChildState.RUNNING,
    ),
    "a Job that is about to fail": (
        "Job",
        {"ready": 1, "conditions": [condition("FailureTarget")]},
        ChildState.RUNNING,
    ),
    "a new PyTorchJob": ("PyTorchJob", {}, ChildState.WAITING),
    "one worker of two": (
        "PyTorchJob",
        {"replicaStatuses": {"Worker": {"active": 1}}, "conditions": [condition("Running")]},
        ChildState.WAITING,
    ),
    "two workers of two": (
        "PyTorchJob",
        {"replicaStatuses": {"Worker": {"active": 1, "succeeded": 1}}},
        ChildState.RUNNING,
    ),
}

ENDS = {
    "a Job succeeds": (
        "Job",
        {"completionTime": "2026-03-01T12:30:00Z", "conditions": [condition("Complete")]},
        {"state": "Succeeded"},
    ),
    "its trainer fails": (
        "Job",
        {"conditions": [condition("Failed", reason="PodFailurePolicy", message=EXIT)]},
        {
            "state": "Failed",
            "reason": "PodFailurePolicy",
            "message": EXIT,
            "exit_code": 137,
            "failed_pod": "three-x",
        },
    ),
    "a container beside its trainer fails": (
        "IndexedJob",
        {"conditions": [condition("Failed", message=EXIT.replace("pytorch", "istio-proxy"))]},
        {"state": "Failed", "message": EXIT.replace("pytorch", "istio-proxy")},
    ),
    "its pod is disrupted": (
        "Job",
        {"conditions": [condition("Failed", reason="PodFailurePolicy", message=DISRUPTION)]},
        {
            "state": "Failed",
            "reason": "PodFailurePolicy",
            "message": DISRUPTION,
            "disrupted": DISRUPTION,
        },
    ),
    "it fails without a word": (
        "IndexedJob",
        {"conditions": [condition("Failed")]},
        {"state": "Failed"},
    ),
    "a PyTorchJob succeeds": (
        "PyTorchJob",
        {"conditions": [condition("Created"), condition("Succeeded")]},
        {"state": "Succeeded"},
    ),
    "a PyTorchJob fails": (
        "PyTorchJob",
        {"conditions": [condition("Failed", reason="PyTorchJobFailed", message="1 failed")]},
        {"state": "Failed", "reason": "PyTorchJobFailed", "message": "1 failed"},
    ),
}


FAILED = condition("Failed", reason="PodFailurePolicy", message=EXIT)
LOSSES = {
    "none": ({"active": 2, "ready": 2}, ChildState.RUNNING, 0),
    "its first pod runs": ({"active": 2, "ready": 1}, ChildState.RUNNING, 0),
    "no pod runs": ({"active": 2, "ready": 0}, ChildState.WAITING, 0),
    "one of two": ({"active": 1, "ready": 1, "failed": 1}, ChildState.RUNNING, 1),
    "both": ({"active": 0, "ready": 0, "failed": 2}, ChildState.WAITING, 2),
    "one, and it is about to fail": (
        {"active": 0, "ready": 0, "failed": 2, "conditions": [condition("FailureTarget")]},
        ChildState.WAITING,
        0,
    ),
    "one before both failed": ({"failed": 3, "conditions": [FAILED]}, ChildState.FAILED, 1),
    "one, the other is done": (
        {"succeeded": 1, "failed": 2, "conditions": [FAILED]},
        ChildState.FAILED,
        1,
    ),
    "one before it failed with none there": (
        {"failed": 1, "conditions": [FAILED]},
        ChildState.FAILED,
        0,
    ),
    "as many as it may, and another while one was not there": (
        {"failed": 20, "conditions": [condition("Failed", reason="BackoffLimitExceeded")]},
        ChildState.FAILED,
        19,
    ),
    "one before both were done": (
        {"succeeded": 2, "failed": 1, "conditions": [condition("Complete")]},
        ChildState.SUCCEEDED,
        1,
    ),
}
"""Statuses of an Indexed Job of two pods that goes on without one."""


def read(body):
    plural = "pytorchjobs" if body["kind"] == "PyTorchJob" else "jobs"
    return readers()[plural](body)


def held_back(body):
    """The same child while a queue suspends it."""
    spec = body["spec"]
    spec.get("runPolicy", spec)["suspend"] = True
    return body


class TestChildrenObserved:
    @EVERY_KIND
    def test_what_was_made_is_read_back(self, kind):
        found = read(observed(kind))
        assert (found.kind, found.name, found.uid) == (kind, CHILD, "child-uid")
        assert (found.attempt, found.work, found.owner) == (ATTEMPT, "ab" * 32, UID)
        assert found.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert not found.is_deleted

    @pytest.mark.parametrize(("kind", "status", "state"), STATES.values(), ids=STATES)
    def test_one_that_is_under_way_runs_once_all_its_pods_do(self, kind, status, state):
        nodes = 1 if kind == "Job" else 2
        found = read(observed(kind, status, nodes=nodes, distribution="Data"))
        assert found.state == state
        assert found.finished_at is None

    @pytest.mark.parametrize(("kind", "status", "facts"), ENDS.values(), ids=ENDS)
    def test_one_that_has_ended_says_how(self, kind, status, facts):
        found = read(observed(kind, status))
        assert {name: getattr(found, name) for name in facts} == facts
        left = {"reason": "", "message": "", "exit_code": None, "disrupted": ""}
        assert all(getattr(found, name) == left[name] for name in left.keys() - facts.keys())
        assert found.finished_at == HALF_PAST

    @pytest.mark.parametrize(("status", "state", "lost"), LOSSES.values(), ids=LOSSES)
    def test_one_that_goes_on_without_a_pod_says_how_many_it_has_lost(self, status, state, lost):
        found = read(observed("IndexedJob", status, nodes=2, distribution="Stages"))
        assert (found.state, found.survives, found.lost_pods) == (state, True, lost)
        is_whole = status.get("ready", 0) == 2
        assert found.is_behind == (state == ChildState.RUNNING and not is_whole)

    @pytest.mark.parametrize(
        "changes", [{"distribution": "Data"}, {"distribution": "Stages", **budget(1)}]
    )
    def test_one_that_ends_with_a_pod_has_lost_none(self, changes):
        """An older operator has made only such ones."""
        found = read(observed("IndexedJob", {"ready": 1, "failed": 1}, nodes=2, **changes))
        assert (found.state, found.survives, found.lost_pods) == (ChildState.WAITING, False, 0)

    @EVERY_KIND
    def test_one_that_a_queue_holds_back_is_suspended(self, kind):
        found = read(held_back(observed(kind, {"ready": 1})))
        assert (found.state, found.is_suspended) == (ChildState.SUSPENDED, True)

    @EVERY_KIND
    def test_since_when_it_waits(self, kind):
        """Kueue sets spec.suspend, and the child's controller says later when it has seen it."""
        created, later = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"

        def waits_since(held, said=None):
            status = {}
            if said:
                told = {"type": "Suspended", "status": said, "lastTransitionTime": later}
                status = {"conditions": [told]}
            body = observed(kind, status)
            body["metadata"]["creationTimestamp"] = created
            found = read(held_back(body) if held else body).waits_since
            return found and found.isoformat().replace("+00:00", "Z")

        assert waits_since(held=False) == created
        assert waits_since(held=True, said="True") == later
        assert waits_since(held=False, said="False") == later
        assert waits_since(held=True) is None
        assert waits_since(held=True, said="False") is None
        assert waits_since(held=False, said="True") is None

    @EVERY_KIND
    def test_the_order_that_it_was_given_is_known(self, kind):
        assert read(observed(kind, {})).order == ORDER.config_map

    @EVERY_KIND
    def test_one_that_failed_while_a_queue_held_it_back_says_so(self, kind):
        status = {"conditions": [{"type": "Failed", "status": "True"}]}
        assert not read(observed(kind, status)).is_suspended
        found = read(held_back(observed(kind, status)))
        assert (found.state, found.is_suspended) == (ChildState.FAILED, True)

    @pytest.mark.parametrize(
        ("part", "key"),
        [
            ("labels", names.SEED_LABEL),
            ("labels", names.INDEX_LABEL),
            ("labels", names.ATTEMPT_LABEL),
            ("annotations", names.RETRIES_ANNOTATION),
            ("annotations", names.DISRUPTIONS_ANNOTATION),
        ],
    )
    @pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²", "١", " 1", "1_0", "9" * 5000])
    def test_one_whose_number_somebody_has_changed_is_no_child(self, part, key, text):
        body = observed("Job")
        body["metadata"][part][key] = text
        assert read(body) is None

    def test_the_job_of_somebody_else_is_no_child(self):
        assert readers()["jobs"]({"metadata": {"name": "x", "uid": "y"}}) is None

    def test_one_that_is_being_deleted_says_so(self):
        body = observed("Job")
        body["metadata"]["deletionTimestamp"] = "2026-03-01T12:30:00Z"
        body["metadata"]["finalizers"] = ["example.org/keep"]
        assert read(body).is_deleted
        assert (read(body).gone_by, read(body).finalizers) == (HALF_PAST, ["example.org/keep"])

    @EVERY_KIND
    def test_it_has_changed_when_it_was_made_resumed_or_a_condition_of_it_was(self, kind):
        assert read(observed(kind)).changed_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
        resumed = observed(kind, {"startTime": "2026-03-01T12:30:00Z"})
        assert read(resumed).changed_at == HALF_PAST
        told = {"type": "Suspended", "status": "False", "lastTransitionTime": HALF_PAST.isoformat()}
        assert read(observed(kind, {"conditions": [told]})).changed_at == HALF_PAST


POD_STATUS = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": "The node was\nlow on resource",
    "conditions": [
        {"type": "PodScheduled", "status": "True"},
        {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"},
    ],
    "containerStatuses": [
        {"name": "istio-proxy", "state": {"terminated": {"exitCode": 1}}},
        {
            "name": "pytorch",
            "state": {
                "terminated": {
                    "exitCode": 137,
                    "reason": "OOMKilled",
                    "message": "{}",
                    "startedAt": "2026-03-01T11:00:20Z",
                }
            },
        },
    ],
}


def pod_body(status=None):
    template = template_of(child())
    metadata = {
        **template["metadata"],
        "name": "three-x",
        "uid": "pod-uid",
        "ownerReferences": [{"uid": "other"}, {"uid": "child-uid", "controller": True}],
    }
    return {"metadata": metadata, "spec": template["spec"], "status": status or {}}


def waiting(**state):
    return {"containerStatuses": [{"name": "pytorch", "state": {"waiting": state}}]}


def running(**state):
    return {
        "phase": "Running",
        "containerStatuses": [{"name": "pytorch", "state": {"running": state}}],
    }


PODS = {
    "a new one": ({}, {"phase": "Pending", "is_scheduled": False, "exit_code": None}),
    "no node fits": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes are available",
                }
            ]
        },
        {"unschedulable": "0/3 nodes are available", "is_scheduled": False},
    ),
    "it is held back": (
        {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
            ]
        },
        {"unschedulable": "", "is_scheduled": False},
    ),
    "no image": (
        waiting(reason="ErrImagePull", message="not found"),
        {"waiting": "ErrImagePull", "waiting_message": "not found"},
    ),
    "a message that would change the terminal of who reads it": (
        waiting(reason="ErrImagePull", message="no \x1b[31m\n  such" + "h" * 2000),
        {"waiting_message": "no ?[31m such" + "h" * 1008 + "..."},
    ),
    "it runs": (
        running(startedAt="2026-03-01T11:00:20Z"),
        {
            "phase": "Running",
            "waiting": "",
            "started_at": datetime(2026, 3, 1, 11, 0, 20, tzinfo=UTC),
            "exit_code": None,
            "is_finished": False,
        },
    ),
    "it was evicted": (
        POD_STATUS,
        {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource",
            "is_scheduled": True,
            "disrupted": "TerminationByKubelet",
            "exit_code": 137,
            "exit_reason": "OOMKilled",
            "started_at": datetime(2026, 3, 1, 11, 0, 20, tzinfo=UTC),
            "termination": "{}",
            "is_finished": True,
        },
    ),
    "an injected container cannot be pulled": (
        {
            "initContainerStatuses": [
                {"name": "vault", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
            ],
            **waiting(reason="PodInitializing"),
        },
        {"waiting": "ImagePullBackOff"},
    ),
    "an injected container runs on": (
        {
            "phase": "Running",
            "containerStatuses": [
                {"name": "istio-proxy", "state": {"running": {}}},
                {
                    "name": "pytorch",
                    "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-03-01T12:30:00Z"}},
                },
            ],
        },
        {"running_beside": ["istio-proxy"], "exit_code": 0, "changed_at": HALF_PAST},
    ),
    "a condition is not met": (
        {
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {
                    "type": "PodReadyToStartContainers",
                    "status": "False",
                    "lastTransitionTime": "2026-03-01T12:30:00Z",
                },
                {"type": "PodScheduled", "status": "True"},
            ]
        },
        {"unmet": "PodReadyToStartContainers is False", "changed_at": HALF_PAST},
    ),
    "a gate holds it": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "of\nexample.org",
                }
            ]
        },
        {"unmet": "PodScheduled is False: SchedulingGated: of example.org", "unschedulable": ""},
    ),
    "it was nearly disrupted": (
        {"conditions": [{"type": "DisruptionTarget", "status": "False", "reason": "x"}]},
        {"disrupted": ""},
    ),
}


class TestPodsObserved:
    @pytest.mark.parametrize(("status", "facts"), PODS.values(), ids=PODS)
    def test_a_pod_says_how_it_is(self, status, facts):
        found = observe_pod(pod_body(status))
        assert {name: getattr(found, name) for name in facts} == facts

    def test_a_pod_of_an_indexed_job_says_which_it_is(self):
        body = pod_body()
        assert observe_pod(body).index is None
        body["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": "1"}
        assert observe_pod(body).index == 1

    def test_a_pod_says_whose_it_is(self):
        found = observe_pod(pod_body())
        assert (found.uid, found.name, found.child) == ("pod-uid", "three-x", "child-uid")
        assert (found.experiment, found.seed) == (UID, 260)

    @pytest.mark.parametrize("label", [names.SEED_LABEL, names.UID_LABEL])
    def test_a_pod_without_our_labels_is_none_of_ours(self, label):
        body = pod_body()
        del body["metadata"]["labels"][label]
        assert observe_pod(body) is None


def parts(body, path=()):
    """The path of everything in a body that may be missing."""
    found = body.items() if isinstance(body, dict) else enumerate(body)
    for key, value in found:
        here = (*path, key)
        if here not in (("metadata",), ("metadata", "name"), ("metadata", "uid"), ("kind",)):
            yield here
        if isinstance(value, dict | list):
            yield from parts(value, here)


def without(body, path):
    """A body in which something is missing, or is null where it stands in a list."""
    whole = body = deepcopy(body)
    for key in path[:-1]:
        body = body[key]
    if isinstance(body, dict):
        del body[path[-1]]
    else:
        body.pop(path[-1])
    return whole


@pytest.mark.parametrize(
    ("kind", "status"), [(kind, status) for kind, status, _ in ENDS.values()], ids=ENDS
)
def test_whatever_is_missing_of_a_child_it_is_read_or_left_out(kind, status):
    body = observed(kind, status)
    for path in parts(body):
        found = read(without(body, path))
        assert found is None or found.uid == "child-uid"


def test_whatever_is_missing_of_a_pod_it_is_read_or_left_out():
    body = pod_body(POD_STATUS)
    for path in parts(body):
        found = observe_pod(without(body, path))
        assert found is None or found.uid == "pod-uid"


DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")

experiment_names = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


@given(
    name=experiment_names,
    uid=st.uuids().map(str),
    seed=st.integers(0, 2**32 - 1),
    index=st.integers(0, 999),
    number=st.integers(0, 1020),
    kind=st.sampled_from(list(BACKENDS)),
)
def test_every_name_and_label_fits_whatever_the_experiment_is_called(
    name, uid, seed, index, number, kind
):
    """An experiment has 1000 seeds at most, a seed 20 retries and 1000 disruptions, a child 128
    pods, which are called after it."""
    owner = Owner("n" * 63, name, uid)
    attempt = Attempt(seed=seed, index=index, number=number)
    made = BACKENDS[kind].render(owner, spec(nodes=1), attempt, ORDER)
    service = BACKENDS["IndexedJob"].service(owner)
    pods = [f"{made['metadata']['name']}-{suffix}" for suffix in ("127", "worker-127", "x7k2p")]
    order = names.order_name(name, uid, "ab" * 32)

    found = [made["metadata"]["name"], service["metadata"]["name"], order, *pods]
    assert all(DNS_LABEL.fullmatch(each) for each in found), found
    labels = made["metadata"]["labels"] | template_of(made)["metadata"]["labels"]
    assert all(len(value) <= 63 for value in labels.values())
    assert read({**made, "metadata": {**made["metadata"], "uid": "x"}}).attempt == attempt
