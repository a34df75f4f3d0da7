"""The templates and the scripts of the page, each read once by a process."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from supreme_core.report import words


@cache
def template(name: str) -> Template:
    """The template of a file of this folder; what it is given is escaped."""
    return _environment().get_template(f"{name}.html.j2")


@cache
def script(name: str) -> Markup:
    """A script of this folder, which is put into a page as it is."""
    return Markup(_read(f"{name}.js"))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        finalize=words.readable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["readable"] = words.readable  # before a filter that makes markup of a text
    return made


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
