"""The base of every document, and the one place where a wrong document becomes a clear message."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from supreme_core.errors import SpecError, escaped, mistakes, nearest, quoted

NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
LABEL_PATTERN: Final = r"^([a-z0-9]([-a-z0-9_.]*[a-z0-9])?)?$"
QUANTITY_PATTERN: Final = r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([EPTGMK]i|[EPTGMkm])?$"
HTTP_PATTERN: Final = r"^https?://[!-~]+$"

IN_WORDS: Final = {
    NAME_PATTERN: "it should have small letters, digits and hyphens, a letter first and no hyphen"
    " last",
    LABEL_PATTERN: "it should have small letters, digits, hyphens, underscores and dots, a letter"
    " or a digit first and last",
    QUANTITY_PATTERN: "it should be a quantity of Kubernetes, such as 8Gi or 500m",
    HTTP_PATTERN: "it should begin with http:// or https://, and have no spaces",
}
"""Looks of a text, by its pattern."""


class Document(BaseModel):
    """camelCase outside, snake_case inside; unknown fields and loose types are errors.

    Strict, because the API server is: `epochs: "8"` is refused by both, not read as 8 by one.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,  # for our own constructors; `parse` accepts only the YAML names
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )

    def to_document(self, *, exclude_unset: bool = False) -> dict[str, Any]:
        """The document as plain JSON values, absent optional fields left out."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=exclude_unset
        )


D = TypeVar("D", bound=BaseModel)


def parse(model: type[D], document: object, *, at: str = "") -> D:
    """Read `document` as `model`.

    Raises SpecError with one line for each mistake: the field's path from `at`, what came, what is
    allowed, and for a misspelt field the nearest name.
    """
    try:
        return model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        details = _of_likely_branches(error.errors(include_url=False))
        raise mistakes(_explain(model, detail, at) for detail in details) from None


def parse_json(model: type[D], data: bytes, *, source: str) -> D:
    """Read an untrusted JSON object of the store; SpecError says what is wrong with it."""
    return parse_document(model, read_json(data, source=source), source=source)


def read_json(data: bytes, *, source: str) -> object:
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{source} is not JSON: {error}") from None
    if SUSPICIOUS.search(data):
        check_values(found, source)
    return found


MAX_BITS: Final = 1000
"""Most bits of a whole number: a larger one is no float, and Python refuses to write one of 4,300
digits."""

SUSPICIOUS: Final = re.compile(rb"\\u[dD][89a-fA-F]|[0-9]{300}")
"""Spelling in JSON of what `check_values` refuses; documents of any size are searched for it."""


def check_values(document: object, source: str) -> None:
    """Refuse numbers and texts that cannot be written again, such as halves of surrogate pairs."""
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        at, value = waiting.pop()
        match value:
            case str() if not _is_text(value):
                what = "half of a surrogate pair, which is no character"
                raise SpecError(f"{source}: {escaped(at)} is {shown(value)}, with {what}")
            case int() if value.bit_length() > MAX_BITS:
                what = f"a whole number of {value.bit_length()} bits"
                raise SpecError(f"{source}: {escaped(at)} is {what}; use at most {MAX_BITS}")
            case dict():
                for key, each in value.items():
                    below = f"{at}.{_cut(str(key))}" if at else _cut(str(key))
                    waiting += [(f"the name {shown(key)}", key), (below, each)]
            case list():
                waiting += [(f"{at}[{place}]", each) for place, each in enumerate(value)]


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_document(model: type[D], document: object, *, source: str) -> D:
    try:
        return parse(model, document)
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None


def _explain(model: type[BaseModel], detail: ErrorDetails, at: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    unknown = detail["loc"][-1] if kind == "extra_forbidden" else None
    location = [step for step in detail["loc"] if step is unknown or not _is_union_branch(step)]
    path = path_of([at, *location] if at else location)
    came = shown(detail["input"])
    if unknown is not None:
        name = str(unknown)
        allowed = sorted(fields_of(annotation_at(model, location[:-1])))
        hint = nearest(name, allowed) or f"; allowed: {', '.join(allowed)}"
        return f"{path}: unknown field {quoted(name)}{hint}"
    if kind == "missing":
        return f"{path} is required and was not given"
    if kind in ("literal_error", "enum"):
        allowed_text = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        hint = nearest(str(detail["input"]), allowed_text.split(", "))
        return f"{path} is {came}; allowed: {allowed_text}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{path} is {came}; {_pattern_in_words(context['pattern'], detail['input'])}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    return f"{path} is {came}; {_expectation(detail['msg'])}"


def _expectation(message: str) -> str:
    """pydantic's own words, from its `Input should be a valid integer` on."""
    message = message.replace("valid dictionary or instance of", "mapping with the fields of")
    message = re.sub(r" after validation(, not \d+)?$", "", message)
    return re.sub(r"^(Input|List|String|Dictionary) should", "it should", message)


def _pattern_in_words(pattern: str, came: object) -> str:
    """Words for a pattern, and a text like the one that came that fits; without words the pattern
    itself."""
    words = IN_WORDS.get(pattern, f"it should match {quoted(pattern)}")
    like = re.sub(r"[^a-z0-9]+", "-", str(came).lower()).strip("-")
    fits = pattern in (NAME_PATTERN, LABEL_PATTERN) and re.fullmatch(pattern, like)
    return f"{words}, such as {quoted(like)}" if fits and like else words


def _of_likely_branches(details: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """The mistakes without those of branches of a union that were not meant: that a mapping or a
    list is no text, where another branch says what is wrong inside of it."""
    for detail in details:
        *union, branch = detail["loc"] or ("",)
        is_structure = isinstance(detail["input"], dict | list) and _is_union_branch(branch)
        others = (each["loc"] for each in details if each is not detail)
        if not (is_structure and any([*loc[: len(union)]] == union for loc in others)):
            yield detail


def _is_union_branch(step: int | str) -> bool:
    """pydantic adds the name of a union's branch to the location; no field of ours is called so."""
    return isinstance(step, str) and (step in ("int", "str", "float", "bool") or "[" in step)


def path_of(steps: Sequence[int | str]) -> str:
    """spec.methods[0].params"""
    text = ""
    for step in steps:
        name = step if isinstance(step, int) or not text else _cut(str(step))
        text += f"[{name}]" if isinstance(step, int) else f".{name}" if text else str(name)
    return escaped(text)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def shown(value: object) -> str:
    """Input as JSON in at most 80 characters."""
    try:
        text = json.dumps(value, default=repr, ensure_ascii=False)
    except TypeError:  # a key that JSON cannot write: YAML reads 2020-01-01 as a date
        text = repr(value)
    except RecursionError:
        text = "nested too deeply"
    except ValueError:  # Python writes no number of so many digits
        text = "a number of thousands of digits"
    return _cut(escaped(text))


def annotation_at(model: type[BaseModel], location: Sequence[int | str]) -> Any:
    """The type at `location`, by YAML names, of a document of this model.

    None where no model says what stands there, as below a component's params. An entry of a list
    has the type of the list.
    """
    annotation: Any = model
    for step in location:
        if isinstance(step, int):
            continue
        found = next(_models_in(annotation), None)
        fields = found.model_fields.values() if found else ()
        annotation = {field.alias: field.annotation for field in fields}.get(step)
    return annotation


def fields_of(annotation: Any) -> Iterator[str]:
    """The YAML names of the fields of the model in a type; none where no model is in it."""
    found = next(_models_in(annotation), None)
    if found is not None:
        yield from (field.alias or name for name, field in found.model_fields.items())


def is_list(annotation: Any) -> bool:
    """Return whether a value of this type, where there is one, is a list."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(map(is_list, get_args(annotation)))
    return get_origin(annotation) is list


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, list, tuple, dict, Annotated, Mapping):
        for argument in get_args(annotation):
            if get_origin(argument) is not Literal:
                yield from _models_in(argument)
