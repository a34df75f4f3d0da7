"""The hashes from which images are installed are those of the versions that are tested."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def versions(text):
    return dict(match.groups() for line in text.splitlines() if (match := VERSION.match(line)))


def test_each_version_has_hashes_and_nothing_else():
    tested = versions((ROOT / "constraints.txt").read_text())
    hashed = (ROOT / "constraints-hashes.txt").read_text()
    assert versions(hashed) == tested, "run make hashes"
    entries = hashed.replace(" \\\n", "").splitlines()
    assert len(entries) == len(tested)
    wrong = [
        each
        for each in entries
        if not re.fullmatch(r"\S+==\S+( +--hash=sha256:[0-9a-f]{64})+", each)
    ]
    assert wrong == [], "hashes only: neither an address nor a word of where they come from"
