"""Settings of the operator: each a flag, and an environment variable of the same name."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_type_hints

from supreme_core.checking import pod_policy
from supreme_core.errors import SpecError, nearest

PREFIX = "SUPREME_OPERATOR_"


def _setting(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Settings:
    """Times are in seconds; a list is separated by commas."""

    namespaces: tuple[str, ...] = _setting((), "Namespaces that are watched; none means all.")
    image: str = _setting("", "Trainer image where an experiment names none.")
    storage_uri: str = _setting("", "Store where an experiment names none.")
    storage_endpoint: str = _setting("", "Endpoint of that store.")
    storage_region: str = _setting("", "Region of that store.")
    storage_secret: str = _setting(
        "", "Secret, in each experiment's namespace, with the credentials of that store."
    )
    allowed_endpoints: tuple[str, ...] = _setting(
        (), "S3 endpoints that experiments may name, beside the cloud's own; none means any."
    )
    read_secrets: bool = _setting(
        True,
        "Read results with the credentials of the experiment's Secret; else with the operator's"
        " own identity.",
    )
    allowed_stores: tuple[str, ...] = _setting(
        (),
        "Stores that the operator uses with its own identity, beside the one for experiments that"
        " name none: s3://bucket/prefix, or s3://bucket/prefix@endpoint where it is not the"
        " cloud's; * is any characters but a slash, {namespace} that of the experiment.",
    )
    allowed_labels: tuple[str, ...] = _setting(
        pod_policy.LABELS,
        "Keys of labels that experiments may set on pods; in this and the next lists * is any"
        " characters but a slash, and an entry with ! before it takes back what others allow.",
    )
    allowed_annotations: tuple[str, ...] = _setting(
        pod_policy.ANNOTATIONS, "Keys of annotations that they may set on pods."
    )
    allowed_env: tuple[str, ...] = _setting(
        pod_policy.VARIABLES, "Variables of the environment that they may set."
    )
    allowed_mount_paths: tuple[str, ...] = _setting(
        pod_policy.MOUNT_PATHS, "Folders in which, and below which, they may mount volumes."
    )
    allowed_priority_classes: tuple[str, ...] = _setting((), "Priority classes that they may name.")
    own_namespace: str = _setting("", "Namespace of the operator; none means that of its pod.")
    allow_own_namespace: bool = _setting(
        False,
        "Compute experiments in the operator's namespace too, whose pods can use its service"
        " account and Secrets.",
    )
    fixed_user: bool = _setting(
        True,
        "Run pods of experiments as user and group 65532; false leaves both to the platform, as"
        " OpenShift demands.",
    )
    host: str = _setting("", "Address of the HTTP port; none means every one, IPv4 and IPv6.")
    port: int = _setting(8080, "Port of /metrics, /livez and /readyz.")
    workers: int = _setting(8, "Experiments that are reconciled at one time.")
    writes_per_second: float = _setting(20.0, "Writes to the API server in the long run.")
    writes_at_once: int = _setting(40, "Writes to the API server at once.")
    status_interval: float = _setting(1.0, "Least time between two status writes of counts only.")
    resync_interval: float = _setting(300.0, "Time between two lists of everything.")
    progress_interval: float = _setting(30.0, "Time between two looks at the progress of seeds.")
    retry_wait: float = _setting(10.0, "Wait after a seed's first failure; doubled each time.")
    disruption_wait: float = _setting(5.0, "Wait after its second disruption; doubled each time.")
    longest_wait: float = _setting(600.0, "Longest of these waits.")
    inquiry_wait: float = _setting(
        120.0, "Wait after which a seed that neither starts nor ends is asked why."
    )
    metrics_experiments: int = _setting(
        100, "Experiments that have metrics of their own, at most; 0 means none."
    )
    collectors: int = _setting(
        2, "Processes that read results at one time, and as many that write summaries."
    )
    publishing_memory: int = _setting(2048, "Memory, in MiB, of one that writes a summary.")
    leader_election: bool = _setting(False, "Of several operators only the holder of a Lease acts.")
    lease_namespace: str = _setting("supreme-system", "Namespace of the Lease.")
    lease_name: str = _setting("supreme-operator", "Name of the Lease.")
    lease_time: int = _setting(15, "Time, at least 3, after which a silent leader is replaced.")
    log_level: str = _setting("info", "debug, info, warning or error.")
    log_format: str = _setting("json", "json or text.")

    @classmethod
    def read(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> "Settings":
        """Flags over environment over defaults; SpecError names a setting that cannot be read."""
        given = vars(_parser(cls).parse_args(arguments))
        known = [_variable(each) for each in fields(cls)]
        for name in environment:
            if name.startswith(PREFIX) and name not in known:
                raise SpecError(f"{name} is no setting{nearest(name, known)}")
        values = {}
        for each in fields(cls):
            text = given[each.name]
            source = _flag(each)
            if text is None:
                text, source = environment.get(_variable(each)), _variable(each)
            if text is not None:
                values[each.name] = _read(text, get_type_hints(cls)[each.name], source)
        made = cls(**values)
        _check(made)
        return made


def _check(settings: Settings) -> None:
    if settings.lease_time < 3:
        raise SpecError(f"--lease-time is {settings.lease_time}; use at least 3")
    for name, allowed in (
        ("log_level", ("debug", "info", "warning", "error")),
        ("log_format", ("json", "text")),
    ):
        value = getattr(settings, name)
        if value not in allowed:
            flag = name.replace("_", "-")
            raise SpecError(f"--{flag} is {value!r}; use {' or '.join(allowed)}")


def _parser(cls: type[Settings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supreme-operator",
        description="Computes UnlearningExperiment resources. Each flag can be given as environment"
        f" variable too, such as {PREFIX}LOG_LEVEL.",
    )
    for each in fields(cls):
        about = f"{each.metadata['about']} (default: {_shown(each.default)})"
        parser.add_argument(_flag(each), dest=each.name, metavar="VALUE", help=about)
    return parser


def _flag(each: "Field[Any]") -> str:
    return f"--{each.name.replace('_', '-')}"


def _variable(each: "Field[Any]") -> str:
    return f"{PREFIX}{each.name.upper()}"


def _shown(value: Any) -> str:
    return ",".join(value) or "none" if isinstance(value, tuple) else str(value) or "none"


def _read(text: str, kind: Any, source: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SpecError(f"{source} is {text!r}; use true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            raise SpecError(f"{source} is {text!r}, which is no number") from None
        if not 0 <= value < 2**63:
            raise SpecError(f"{source} is {text}; it may not be negative or infinite")
        return value
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())
