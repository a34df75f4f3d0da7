"""The YAML documents of a text, as users' files are read."""

from supreme_core.api.load import load_yaml


def documents_of(text, *, source):
    return [document for document, _ in load_yaml(text, source=source)]
