"""Text for a stream that cannot show every character: ASCII forms instead of an error.

A terminal or a pipe that is not UTF-8 (a locale such as POSIX or ISO-8859-1) has no ± or ≈. What a
stream has is left as it is; the rest is spelt, and letters of names become escapes, so that two
names stay two.
"""

import codecs
import io
import sys
import unicodedata
from functools import cache

ERRORS = "supreme-spelling"
"""The name of the way to deal with characters that an encoding lacks, as `codecs` knows it."""

FORMS = {
    **dict.fromkeys("–—−‐‑─━═·•", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "×": "x",
    "±": "+/-",
    "≈": "~",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "…": "...",
    "‖": "||",
    "∈": "in",
    "√": "sqrt",
    "²": "^2",
    "³": "^3",
    "\N{NO-BREAK SPACE}": " ",
}


def spelt(text: str, encoding: str) -> str:
    """The text as a stream of that encoding will have it. Longer or shorter, so spell it before
    it is aligned."""
    return text.encode(encoding, ERRORS).decode(encoding)


def spell_output() -> None:
    """Have standard output and standard error of this process spell what they cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_form, lacking)), error.end


@cache
def _form(character: str) -> str:
    if character in FORMS:
        return FORMS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[-1].lower()
    if not unicodedata.category(character).startswith("L"):
        plain = unicodedata.normalize("NFKD", character)  # of a subscript, for one
        if plain.isascii():
            return plain
    return character.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _spell)
