"""Settings of the operator: each a flag, and an environment variable of the same name."""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from supreme_core.checking import pod_policy
from supreme_core.errors import mistakes, nearest

PREFIX = "SUPREME_OPERATOR_"


def _texts(given: object) -> object:
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return given


def _switch(given: object) -> object:
    """Refuse other words for it, such as yes: of `on` and `n` nobody knows who reads them how."""
    if isinstance(given, str) and given.lower() not in ("true", "false"):
        raise ValueError("use true or false")
    return given


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_texts)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, lt=2**63, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Times are in seconds; a list is separated by commas."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    namespaces: Texts = Field((), description="Namespaces that are watched; none means all.")
    image: str = Field("", description="Trainer image of experiments that name none.")
    storage_uri: str = Field("", description="Store of experiments that name none.")
    storage_endpoint: str = Field(
        "", description="Endpoint of the store of experiments that name none."
    )
    storage_region: str = Field(
        "", description="Region of the store of experiments that name none."
    )
    storage_secret: str = Field(
        "",
        description="Secret, in each experiment's namespace, with the credentials of the store of"
        " experiments that name none.",
    )
    allowed_endpoints: Texts = Field(
        (),
        description="S3 endpoints that experiments may name, beside the cloud's own; none means"
        " any.",
    )
    read_secrets: Switch = Field(
        True,
        description="Read results with the credentials of the experiment's Secret; else with the"
        " operator's own identity.",
    )
    allowed_stores: Texts = Field(
        (),
        description="Stores that the operator uses with its own identity, beside the one for"
        " experiments that name none: s3://bucket/prefix, or s3://bucket/prefix@endpoint where it"
        " is not the cloud's; * is any characters but a slash, {namespace} that of the experiment.",
    )
    allowed_labels: Texts = Field(
        pod_policy.LABELS,
        description="Keys of labels that experiments may set on pods. In this list, and in those of"
        " annotations, variables, folders and priority classes, * is any characters but a slash,"
        " and an entry with ! before it takes back what others allow.",
    )
    allowed_annotations: Texts = Field(
        pod_policy.ANNOTATIONS, description="Keys of annotations that experiments may set on pods."
    )
    allowed_env: Texts = Field(
        pod_policy.VARIABLES, description="Variables of the environment that experiments may set."
    )
    allowed_mount_paths: Texts = Field(
        pod_policy.MOUNT_PATHS,
        description="Folders in which, and below which, experiments may mount volumes.",
    )
    allowed_priority_classes: Texts = Field(
        (), description="Priority classes that experiments may name."
    )
    own_namespace: str = Field(
        "", description="Namespace of the operator; none means that of its pod."
    )
    allow_own_namespace: Switch = Field(
        False,
        description="Compute experiments in the operator's namespace too, whose pods can use its"
        " service account and Secrets.",
    )
    fixed_user: Switch = Field(
        True,
        description="Run pods of experiments as user and group 65532; false leaves both to the"
        " platform, as OpenShift demands.",
    )
    host: str = Field(
        "", description="Address of the HTTP port; none means every one, IPv4 and IPv6."
    )
    port: Count = Field(8080, description="Port of /metrics, /livez and /readyz.")
    workers: Count = Field(8, description="Experiments that are reconciled at one time.")
    writes_per_second: Amount = Field(20.0, description="Writes to the API server in the long run.")
    writes_at_once: Count = Field(40, description="Writes to the API server at once.")
    status_interval: Amount = Field(
        1.0, description="Least time between two status writes of counts only."
    )
    resync_interval: Amount = Field(300.0, description="Time between two lists of everything.")
    progress_interval: Amount = Field(
        30.0, description="Time between two looks at the progress of seeds."
    )
    retry_wait: Amount = Field(
        10.0, description="Wait after a seed's first failure; doubled each time."
    )
    disruption_wait: Amount = Field(
        5.0, description="Wait after a seed's second disruption; doubled each time."
    )
    longest_wait: Amount = Field(600.0, description="Longest wait after a failure or a disruption.")
    inquiry_wait: Amount = Field(
        120.0, description="Wait after which a seed that neither starts nor ends is asked why."
    )
    metrics_experiments: Count = Field(
        100, description="Experiments that have metrics of their own, at most; 0 means none."
    )
    collectors: Count = Field(
        2, description="Processes that read results at one time, and as many that write summaries."
    )
    publishing_memory: Count = Field(
        2048, description="Memory, in MiB, of a process that writes a summary."
    )
    leader_election: Switch = Field(
        False, description="Let only the holder of a Lease act, where several operators run."
    )
    lease_namespace: str = Field("supreme-system", description="Namespace of the Lease.")
    lease_name: str = Field("supreme-operator", description="Name of the Lease.")
    lease_time: Annotated[int, Field(ge=3, lt=2**63)] = Field(
        15, description="Time, at least 3, after which a silent leader is replaced."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged: debug, info, warning or error."
    )
    log_format: Literal["json", "text"] = Field(
        "json", description="Format of the log: json or text."
    )

    @classmethod
    def read(cls, arguments: Sequence[str]) -> "Settings":
        """Flags over the environment over defaults; SpecError has a line for each mistake."""
        parsed = vars(_parser(cls).parse_args(arguments))
        flags = {name: text for name, text in parsed.items() if text is not None}
        lines = list(_unknown(cls))
        try:
            made = cls(**flags)
        except ValidationError as error:
            lines += [_explain(each, flags) for each in error.errors(include_url=False)]
        if lines:
            raise mistakes(lines)
        return made


def _unknown(cls: type[Settings]) -> Iterator[str]:
    """Variables that look like settings and are none, also since they are not in capitals."""
    known = [_variable(name) for name in cls.model_fields]
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name not in known:
            yield f"{name} is no setting{nearest(name.upper(), known)}"


def _explain(detail: ErrorDetails, flags: Mapping[str, str]) -> str:
    """One line: the flag or variable, what came, what is allowed."""
    name, came, context = str(detail["loc"][0]), detail["input"], detail.get("ctx", {})
    source = _flag(name) if name in flags else _variable(name)
    match detail["type"]:
        case "int_parsing" | "int_from_float" | "float_parsing":
            allowed = f"use a {'whole ' if detail['type'].startswith('int') else ''}number"
        case "greater_than_equal":
            allowed = f"use at least {context['ge']:g}"
        case "less_than":
            allowed = f"use less than {context['lt']:g}"
        case "finite_number":
            allowed = "use a finite number"
        case "literal_error":
            words = re.findall(r"'(.*?)'", context["expected"])
            allowed = f"use {', '.join(words[:-1])} or {words[-1]}{nearest(str(came), words)}"
        case "value_error":
            allowed = str(context["error"])
        case _:
            allowed = detail["msg"].replace("Input should", "it should", 1)
    return f"{source} is {came!r}; {allowed}"


def _parser(cls: type[Settings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supreme-operator",
        description="Computes UnlearningExperiment resources. Each flag can be given as environment"
        f" variable too, such as {PREFIX}LOG_LEVEL.",
    )
    for name, each in cls.model_fields.items():
        about = f"{each.description} (default: {_shown(each.default)})".replace("%", "%%")
        parser.add_argument(_flag(name), dest=name, metavar="VALUE", help=about)
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _shown(value: Any) -> str:
    return ",".join(value) or "none" if isinstance(value, tuple) else str(value) or "none"
