"""Types of fields that several documents have."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from supreme_core.api.v1alpha1 import SEED_LIMIT

SCHEMA_VERSION: Literal[1] = 1

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=1024)]
Title = Annotated[str, StringConstraints(max_length=128)]
Seed = Annotated[int, Field(ge=0, le=SEED_LIMIT)]
JSON_VALUES = Annotated[dict[str, Any], Field(max_length=64)]
