"""Permissions of an installation: which stores, namespaces and parts of pods, and for whom.

| part                           | how                                                            |
| ------------------------------ | -------------------------------------------------------------- |
| stores of the own identity     | tables of the same store written otherwise, and of others      |
| settings                       | a table of what cannot be read                                 |
| experiments accepted before    | histories of settings and specs                                |

That the operator on a real API server keeps to it: tests/cluster/test_policy.py.
"""

import pytest
from supreme_operator import main
from supreme_operator.deciding.admission import NotAccepted, admit, pod_digest
from supreme_operator.deciding.status import invalid
from supreme_operator.main import policy_of
from supreme_operator.results.location import Location, StoreNotAllowed
from supreme_operator.settings import Settings

from supreme_core.errors import SpecError
from tests.operator.looks import CATALOG, NOW, condition, resource, told_of

DEFAULT = Settings(storage_uri="s3://research/supreme", storage_endpoint="https://s3.example.org")
CLOUD = Settings(storage_uri="s3://research/supreme")
SHARED = Settings(
    allowed_stores=("s3://team-*/x/{namespace}@http://minio:9000", "s3://own/a*c/runs", "s3://all")
)

SERVED = {
    "the default store": (DEFAULT, "s3://research/supreme", "https://s3.example.org"),
    "a slash at its end": (DEFAULT, "s3://research/supreme/", "https://s3.example.org/"),
    "its server in capitals": (DEFAULT, "s3://research/supreme", "https://S3.Example.ORG"),
    "its port written out": (DEFAULT, "s3://research/supreme", "https://s3.example.org:443"),
    "a folder of it": (DEFAULT, "s3://research/supreme/mine/too", "https://s3.example.org"),
    "the cloud's": (CLOUD, "s3://research/supreme", None),
    "a pattern of buckets": (SHARED, "s3://team-a/x/research", "http://minio:9000"),
    "a folder of the namespace": (SHARED, "s3://team-b.c/x/research/y", "http://minio:9000"),
    "a pattern of folders": (SHARED, "s3://own/abc/runs/1", None),
    "a whole bucket": (SHARED, "s3://all", None),
    "anything in a whole bucket": (SHARED, "s3://all/a/b", None),
}
REFUSED = {
    "no store": (Settings(), "s3://research/supreme", None),
    "the default store with a Secret": (
        Settings(storage_uri="s3://research/supreme", storage_secret="s3"),
        "s3://research/supreme",
        None,
    ),
    "another bucket": (CLOUD, "s3://other/supreme", None),
    "a longer bucket": (CLOUD, "s3://research-evil/supreme", None),
    "a bucket with a domain": (CLOUD, "s3://research.evil/supreme", None),
    "a bucket in capitals": (CLOUD, "s3://Research/supreme", None),
    "its bucket alone": (CLOUD, "s3://research", None),
    "a longer prefix": (CLOUD, "s3://research/supreme-evil", None),
    "a shorter prefix": (CLOUD, "s3://research/sup", None),
    "a prefix in capitals": (CLOUD, "s3://research/Supreme", None),
    "steps up": (CLOUD, "s3://research/supreme/../secrets", None),
    "steps up at once": (CLOUD, "s3://research/../supreme", None),
    "a dot": (CLOUD, "s3://research/./supreme", None),
    "an empty part": (CLOUD, "s3://research//supreme", None),
    "an escape": (CLOUD, "s3://research/%73upreme", None),
    "a backslash": (CLOUD, "s3://research/x\\supreme", None),
    "a user in the bucket": (CLOUD, "s3://research@evil/supreme", None),
    "a query": (CLOUD, "s3://research?/supreme", None),
    "a scheme in capitals": (CLOUD, "S3://research/supreme", None),
    "a new line": (CLOUD, "s3://research/supreme\n", None),
    "an ARN": (CLOUD, "s3://arn:aws:s3:::research/supreme", None),
    "another endpoint than the cloud's": (CLOUD, "s3://research/supreme", "https://evil"),
    "the cloud's, named": (CLOUD, "s3://research/supreme", "https://s3.amazonaws.com"),
    "the cloud's instead of the server": (DEFAULT, "s3://research/supreme", None),
    "another server": (DEFAULT, "s3://research/supreme", "https://s3.example.org.evil"),
    "its server without TLS": (DEFAULT, "s3://research/supreme", "http://s3.example.org"),
    "another port": (DEFAULT, "s3://research/supreme", "https://s3.example.org:444"),
    "a user": (DEFAULT, "s3://research/supreme", "https://s3.example.org@evil"),
    "a password": (DEFAULT, "s3://research/supreme", "https://s3.example.org:443@evil"),
    "a user of the server": (DEFAULT, "s3://research/supreme", "https://me@s3.example.org"),
    "a path": (DEFAULT, "s3://research/supreme", "https://s3.example.org/evil"),
    "a query of the server": (DEFAULT, "s3://research/supreme", "https://s3.example.org?x"),
    "a fragment": (DEFAULT, "s3://research/supreme", "https://evil#s3.example.org"),
    "a letter that is small in ASCII": (
        DEFAULT,
        "s3://research/supreme",
        "https://s3.example.org".replace("s", "ſ", 1),
    ),
    "a pattern of another server": (SHARED, "s3://team-a/x/research", "http://minio:9001"),
    "a pattern of the cloud": (SHARED, "s3://team-a/x/research", None),
    "a folder of another namespace": (SHARED, "s3://team-a/x/teaching", "http://minio:9000"),
    "a folder of a longer namespace": (SHARED, "s3://team-a/x/research2", "http://minio:9000"),
    "the folder of all namespaces": (SHARED, "s3://team-a/x", "http://minio:9000"),
    "the pattern itself": (SHARED, "s3://team-a/x/{namespace}", "http://minio:9000"),
    "a star over a slash": (SHARED, "s3://own/a/b/c/runs", None),
    "a bucket of an entry with a prefix": (SHARED, "s3://own/other", None),
}


def stored(uri, endpoint, **spec):
    storage = {"uri": uri} | ({"endpoint": endpoint} if endpoint else {})
    return resource(storage=storage, **spec)


def admitted(body, settings, status=None):
    body = {**body, "status": status.to_document()} if status else body
    return admit(body, CATALOG, defaults={}, policy=policy_of(settings))


class TestStoresOfTheOwnIdentity:
    @pytest.mark.parametrize(("settings", "uri", "endpoint"), SERVED.values(), ids=SERVED)
    def test_it_serves_what_is_allowed_however_it_is_written(self, settings, uri, endpoint):
        spec = admitted(stored(uri, endpoint), settings).experiment.spec
        policy_of(settings).check_store(spec, "research")

    @pytest.mark.parametrize(("settings", "uri", "endpoint"), REFUSED.values(), ids=REFUSED)
    def test_it_serves_no_other(self, settings, uri, endpoint):
        with pytest.raises(SpecError, match=r"allowedStores|spec\.storage\.(uri|endpoint)"):
            admitted(stored(uri, endpoint), settings)
        with pytest.raises(StoreNotAllowed, match="which is none of the operator's allowedStores"):
            policy_of(settings).own_stores.check(Location(uri=uri, endpoint=endpoint), "research")

    def test_a_store_with_a_secret_is_the_users_own_affair(self):
        secret = {"credentialsSecretRef": {"name": "s3"}}
        body = resource(storage={"uri": "s3://theirs/x", "endpoint": "http://theirs", **secret})
        admitted(body, Settings())
        with pytest.raises(SpecError, match="allowedStores"):
            admitted(body, Settings(read_secrets=False))
        with pytest.raises(
            SpecError, match=r"spec\.storage\.endpoint is .http:..theirs., which is"
        ):
            admitted(body, Settings(allowed_endpoints=("http://ours",)))

    def test_the_default_store_is_served_where_secrets_are_not_read(self):
        settings = Settings(
            storage_uri="s3://research/supreme", storage_secret="s3", read_secrets=False
        )
        admitted(stored("s3://research/supreme", None), settings)

    def test_what_is_said_names_the_store_the_setting_and_the_way_out(self):
        with pytest.raises(SpecError) as raised:
            admitted(stored("s3://other/x", "http://evil"), SHARED)
        assert str(raised.value) == (
            "spec.storage.uri is 's3://other/x' at http://evil, which is none of the operator's"
            " allowedStores, and no other does it use with its own identity; name a Secret in"
            " storage.credentialsSecretRef; allowed:"
            " s3://team-*/x/{namespace}@http://minio:9000, s3://own/a*c/runs, s3://all"
        )

    @pytest.mark.parametrize(
        "pattern",
        [
            *("", "research", "s3://", "s3:///x", "S3://a/b", "s3://Team/x", "s3://a/../b"),
            *("s3://a//b", "s3://a/{name}", "s3://{name}/x@http://b", "http://a/b", "s3://a?/b"),
            *("s3://team-*", "s3://{namespace}/x", "s3://a/b@http://u:p@c", "s3://a/b@http://c/d"),
            *("s3://a@b", "s3://a@ftp://b"),
        ],
    )
    def test_a_setting_that_cannot_be_meant_is_refused(self, pattern):
        with pytest.raises(SpecError, match="allowedStores has"):
            policy_of(Settings(allowed_stores=(pattern,)))


def mounted(*paths):
    mounts = [{"name": "x", "mountPath": path} for path in paths]
    return {"volumes": [{"name": "x", "emptyDir": {}}], "volumeMounts": mounts}


def variables(*found):
    return {"env": [{"name": name, "value": "x"} for name in found]}


def annotated(*keys):
    return {"annotations": dict.fromkeys(keys, "x")}


USUAL = {
    "labels": {"labels": {"team": "a", "cost-centre": "b", "sidecar.istio.io/inject": "false"}},
    "evictions": annotated(
        "cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"
    ),
    "Kueue": annotated(
        "kueue.x-k8s.io/podset-required-topology", "kueue.x-k8s.io/podset-preferred-topology"
    ),
    "Prometheus": annotated("prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"),
    "meshes": annotated("sidecar.istio.io/inject", "linkerd.io/inject"),
    "proxies": variables("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"),
    "NCCL": variables("NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "TORCH_NCCL_TRACE"),
    "Hugging Face": variables("HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE"),
    "plug-ins": variables("SUPREME_PLUGINS", "SUPREME_CHECKPOINT_SECONDS", "SUPREME_CUDA_GRAPHS"),
    "identities": variables("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE"),
    "mounts": mounted("/data", "/data/cifar", "/mnt/a/b", "/tmp/fast", "/plug-ins"),
}
UNUSUAL = {
    "allowedLabels": [
        *({"labels": {key: "x"}} for key in ("azure.workload.identity/use", "example.com/a")),
        *({"labels": {f"kueue.x-k8s.io/{key}": "x"}} for key in ("queue-name", "managed")),
        *({"labels": {key: "x"}} for key in ("kubernetes.io/arch", "istio.io/rev")),
    ],
    "allowedAnnotations": [
        *map(annotated, ("io.kubernetes.cri-o.Devices", "io.kubernetes.cri-o.userns-mode")),
        *map(annotated, ("io.katacontainers.config.hypervisor.path", "description")),
        *map(annotated, ("iam.amazonaws.com/role", "k8s.v1.cni.cncf.io/networks")),
        *map(annotated, ("sidecar.istio.io/proxyImage", "sidecar.istio.io/userVolume")),
        *map(annotated, ("inject.istio.io/templates", "proxy.istio.io/config")),
        *map(annotated, ("openshift.io/scc", "openshift.io/required-scc")),
        *map(annotated, ("vault.hashicorp.com/agent-inject", "vault.hashicorp.com/role")),
        *map(annotated, ("seccomp.security.alpha.kubernetes.io/pod", "cdi.k8s.io/gpu")),
        *map(annotated, ("container.apparmor.security.beta.kubernetes.io/pytorch",)),
        *map(annotated, ("kubernetes.io/egress-bandwidth", "scheduler.alpha.kubernetes.io/a")),
        *map(annotated, ("kueue.x-k8s.io/is-group-workload", "prometheus.io.evil/scrape")),
        *map(annotated, ("prometheus.io", "eu.prometheus.io/scrape")),
    ],
    "allowedEnv": [
        *map(variables, ("PYTHONPATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PATH")),
        *map(variables, ("PYTHONSTARTUP", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONINSPECT", "HOME")),
        *map(variables, ("NCCL_NET_PLUGIN", "NCCL_TUNER_PLUGIN", "NCCL_PROFILER_PLUGIN")),
        *map(variables, ("NCCL_CONF_FILE", "nccl_debug", "X_NCCL_DEBUG", "CUDA_INJECTION64_PATH")),
        *map(variables, ("NVIDIA_VISIBLE_DEVICES", "AWS_CONFIG_FILE", "AWS_PROFILE", "BASH_ENV")),
        *map(variables, ("TORCHINDUCTOR_CACHE_DIR", "GCONV_PATH", "MALLOC_CHECK_", "Ld_preload")),
    ],
    "allowedMountPaths": [
        *map(mounted, ("/opt/supreme", "/opt/supreme/lib/python3.11/site-packages", "/opt")),
        *map(
            mounted, ("/usr", "/usr/local/lib", "/lib", "/lib64", "/bin", "/etc/ssl", "/etc/ld.so")
        ),
        *map(mounted, ("/home", "/root", "/run/secrets", "/torch", "/supreme_trainer", "/var")),
        *map(mounted, ("/data2", "/Data", "/mnt2/a", "/x/data")),
    ],
    "allowedPriorityClasses": ["system-node-critical", "system-cluster-critical", "high"],
}


def of_pods(part, status=None, **settings):
    """An experiment in which this is set on pods; a word is a priority class."""
    execution = {"template": part}
    if isinstance(part, str):
        execution = {"scheduling": {"priorityClassName": part}}
    settings = Settings(storage_uri="s3://bucket", **settings)
    return admitted(resource(execution=execution), settings, status)


class TestPods:
    @pytest.mark.parametrize("part", USUAL.values(), ids=USUAL)
    def test_what_pods_usually_need_is_allowed_by_default(self, part):
        of_pods(part)

    @pytest.mark.parametrize(
        ("setting", "part"),
        [(setting, part) for setting, parts in UNUSUAL.items() for part in parts],
    )
    def test_the_rest_is_refused_with_a_word_that_names_the_setting(self, setting, part):
        words = f"^spec\\.execution\\..* '.*', which the operator's {setting} does not have; "
        with pytest.raises(SpecError, match=words):
            of_pods(part)

    @pytest.mark.parametrize(
        ("setting", "patterns", "part", "other"),
        [
            (
                "allowed_labels",
                ["example.com/*"],
                {"labels": {"example.com/a": ""}},
                USUAL["labels"],
            ),
            ("allowed_annotations", ["*", "*/*"], annotated("a", "openshift.io/scc"), None),
            ("allowed_annotations", ["*"], annotated("a"), annotated("openshift.io/scc")),
            ("allowed_env", ["*", "!LD_*"], variables("PYTHONPATH"), variables("LD_AUDIT")),
            ("allowed_env", [], {}, variables("NCCL_DEBUG")),
            ("allowed_mount_paths", ["/*"], mounted("/opt/supreme"), None),
            ("allowed_mount_paths", ["/a/*/c"], mounted("/a/b/c", "/a/x/c/d"), mounted("/a/b")),
            ("allowed_mount_paths", ["/a", "!/a/b"], mounted("/a/c"), mounted("/a/b/d")),
            ("allowed_priority_classes", ["research-*"], "research-low", "system-node-critical"),
        ],
    )
    def test_an_installation_says_what_is_allowed(self, setting, patterns, part, other):
        of_pods(part, **{setting: tuple(patterns)})
        if other is not None:
            with pytest.raises(SpecError, match="does not have"):
                of_pods(other, **{setting: tuple(patterns)})

    def test_each_part_that_is_refused_is_named_with_what_is_near_it(self):
        template = {**annotated("prometheus.io/scrape"), **variables("TZ", "HF_HOMES", "PATH")}
        with pytest.raises(SpecError) as raised:
            of_pods({**template, **mounted("/datas")})
        assert str(raised.value).splitlines() == [
            "spec.execution.template.env[1].name is 'HF_HOMES', which the operator's allowedEnv"
            " does not have; did you mean 'HF_HOME'?",
            "spec.execution.template.env[2].name is 'PATH', which the operator's allowedEnv does"
            " not have; allowed: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, ALL_PROXY, http_proxy,"
            " https_proxy, no_proxy, all_proxy, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,"
            " AWS_SESSION_TOKEN, AWS_REGION and 29 more",
            "spec.execution.template.volumeMounts[0].mountPath is '/datas', which the operator's"
            " allowedMountPaths does not have; did you mean '/data'?",
        ]

    def test_what_was_accepted_before_is_kept_but_nothing_else(self):
        before = told_of(of_pods(annotated("a.b/c"), allowed_annotations=("*/*",)))
        assert of_pods(annotated("a.b/c"), before).experiment.violations
        for part in (annotated("a.b/c", "a.b/d"), {"annotations": {"a.b/c": "y"}}, "high"):
            with pytest.raises(SpecError, match="does not have"):
                of_pods(part, before)
        assert not of_pods({}, before).experiment.violations


class TestOwnNamespace:
    def test_no_experiment_is_computed_there_unless_that_is_allowed(self):
        there = Settings(own_namespace="research", storage_uri="s3://bucket")
        with pytest.raises(SpecError, match=r"metadata\.namespace is 'research', the operator's"):
            admitted(resource(), there)
        admitted(resource(), Settings(own_namespace="other", storage_uri="s3://bucket"))
        allowed = Settings(
            own_namespace="research", allow_own_namespace=True, storage_uri="s3://bucket"
        )
        admitted(resource(), allowed)

    def test_in_a_pod_it_is_that_of_its_service_account(self, tmp_path, monkeypatch):
        monkeypatch.setattr(main, "NAMESPACE_FILE", tmp_path / "namespace")
        assert policy_of(Settings()).own_namespace == ""
        (tmp_path / "namespace").write_text("supreme-system\n")
        assert policy_of(Settings()).own_namespace == "supreme-system"
        assert policy_of(Settings(allow_own_namespace=True)).own_namespace == ""
        assert policy_of(Settings(own_namespace="mine")).own_namespace == "mine"


class TestAcceptedBefore:
    """An experiment goes on when the installation allows less than it did."""

    BEFORE = Settings(storage_uri="s3://bucket")
    AFTER = Settings(storage_uri="s3://another")

    def test_it_keeps_what_was_accepted_and_a_condition_says_so(self):
        first = told_of(admitted(resource(), self.BEFORE))
        assert condition(first, "Accepted") == ("True", "SpecAccepted")

        again = told_of(admitted(resource(), self.AFTER, first), first)

        assert condition(again, "Accepted") == ("True", "AcceptedBefore")
        (accepted,) = (each for each in again.conditions if each.type == "Accepted")
        assert "spec.storage.uri is 's3://bucket/prefix', which is none" in accepted.message
        assert condition(told_of(admitted(resource(), self.BEFORE, again)), "Accepted") == (
            "True",
            "SpecAccepted",
        )

    def test_so_does_one_with_more_seeds_than_then(self):
        first = told_of(admitted(resource(), self.BEFORE))
        more = resource(generation=2, seeds={"list": [7, 8, 9, 10]})
        assert admitted(more, self.AFTER, first).experiment.violations

    def test_a_mistake_that_is_mended_does_not_change_that(self):
        first = told_of(admitted(resource(), self.BEFORE))
        refused = invalid(first, NotAccepted("a mistake", None), generation=2, now=NOW)
        assert admitted(resource(generation=3), self.AFTER, refused).experiment.violations

    def test_other_pods_are_not_what_was_accepted(self):
        first = told_of(admitted(resource(), self.BEFORE))
        other = resource(generation=2, execution={"template": {"labels": {"a": "b"}}})
        with pytest.raises(SpecError, match="allowedStores"):
            admitted(other, self.AFTER, first)

    def test_one_that_was_never_accepted_has_nothing_to_keep(self):
        refused = invalid(
            told_of(admitted(resource(), self.BEFORE)).model_copy(update={"pod_digest": None}),
            NotAccepted("a mistake", None),
            generation=1,
            now=NOW,
        )
        for status in (None, refused):
            with pytest.raises(SpecError, match="allowedStores"):
                admitted(resource(), self.AFTER, status)

    def test_an_older_version_has_accepted_the_generation_that_it_names(self):
        first = told_of(admitted(resource(), self.BEFORE))
        theirs = first.model_copy(update={"pod_digest": None})
        later = admitted(resource(), self.AFTER, theirs)
        assert told_of(later).pod_digest == pod_digest(later.experiment.spec)
        with pytest.raises(SpecError, match="allowedStores"):
            admitted(resource(generation=2), self.AFTER, theirs)
