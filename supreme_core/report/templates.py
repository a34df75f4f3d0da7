"""The templates of the page, each read once by a process."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from supreme_core.report import words


@cache
def template(name: str) -> Template:
    """The template of a file of this folder; what it is given is escaped."""
    environment = Environment(
        autoescape=True,
        finalize=words.readable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(
        files("supreme_core.report").joinpath(f"{name}.html.j2").read_text("utf-8")
    )
