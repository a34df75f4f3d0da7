"""Rules that types and ranges cannot say, in words that are said once.

pydantic raises what `Rule.broken` gives; the API server evaluates CEL and says the same. Rules
stand in the JSON schema of a model or a field, from where the CRD takes them. That both languages
mean the same is tested on a real API server.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

from pydantic import JsonValue
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Rule:
    """Condition that must hold of a value, and the message where it does not.

    message: with {placeholders} for what came.
    cel: the condition; `self` is the value that carries the rule, `oldSelf` what it was before. It
        must bear that a field with a default is absent, for a section's own default is judged bare.
    shown: the CEL text for each placeholder that is not simply a field of `self`.
    at: the field of `self` that is to blame, where it is a single one.
    """

    message: str
    cel: str
    shown: Mapping[str, str] = field(default_factory=dict)
    at: str | None = None

    def broken(self, **values: object) -> ValueError:
        return ValueError(self.message.format(**values))

    def validation(self) -> dict[str, JsonValue]:
        """An entry of x-kubernetes-validations."""
        # CEL's estimate of costs knows no bound of a number as text, which + would need.
        template, values = "", []
        for text, placeholder, _, _ in Formatter().parse(self.message):
            template += text.replace("%", "%%")
            if placeholder is not None:
                template += "%s"
                values.append(self.shown.get(placeholder, f"self.{to_camel(placeholder)}"))
        filled = f"{json.dumps(template)}.format([{', '.join(values)}])"
        said = {"messageExpression": filled} if values else {"message": self.message}
        where = {"fieldPath": f".{self.at}"} if self.at else {}
        return {"rule": self.cel, **said, **where}


def unchanging(field: str, *, where: str, why: str = "", is_always_there: bool = False) -> Rule:
    """A field stays what it was.

    field: its path in YAML, from the value that carries the rule.
    where: a condition in CEL; elsewhere the field may be changed. `why` says it in the message.
    is_always_there: it is required, or the API server fills in its default.
    """
    now, before = f"self.{field}", f"oldSelf.{field}"
    same = f"{now} == {before}"
    if not is_always_there:
        same = f"has({now}) == has({before}) && (!has({now}) || {same})"
    return Rule(
        f"{field.rpartition('.')[2]} cannot be changed{why}; make another experiment, which reuses"
        " what is computed already",
        cel=f"!({where}) || {same}",
        at=field,
    )


def validations(*rules: Rule) -> dict[str, JsonValue]:
    """Rules as `json_schema_extra`."""
    return {"x-kubernetes-validations": [rule.validation() for rule in rules]}


def keyed(*keys: str) -> dict[str, JsonValue]:
    """A list without two entries that are equal in these fields, as `json_schema_extra`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


UNIQUE: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}
"""A list without two equal values, as `json_schema_extra`."""
