"""The rules of hadolint that matter here, for each Dockerfile: what its image is made of is known,
it runs without rights, and it keeps no secret. That the images work is tested in tests/e2e.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))

pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path):
    """(word, rest) of each; continued lines are one, and comments none."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = filter(None, re.sub(r"\\\n\s*", "", text).splitlines())
    return [tuple(line.split(maxsplit=1)) for line in lines]


def arguments(path, *words):
    return [rest for word, rest in instructions(path) if word in words]


def stages(path):
    """The instructions of each stage, which begin with its FROM."""
    found = []
    for word, rest in instructions(path):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def test_its_base_is_an_argument_with_a_version(path):
    [default] = [rest for rest in arguments(path, "ARG") if rest.startswith("PYTHON_IMAGE=")]
    assert re.search(r":\d+\.\d+", default)
    built = {rest.partition(" AS ")[2] for rest in arguments(path, "FROM")} - {""}
    bases = {rest.partition(" AS ")[0] for rest in arguments(path, "FROM")}
    assert bases - built == {"${PYTHON_IMAGE}"}


def test_tools_of_the_build_stay_in_stages_of_their_own(path):
    *earlier, last = stages(path)
    assert earlier
    assert not [rest for word, rest in last if word == "RUN" and re.search(r"\b(uv|pip)\b", rest)]
    copied = [rest for word, rest in last if word in ("COPY", "ADD")]
    assert copied
    assert all(rest.startswith("--from=") for rest in copied)


def test_it_runs_as_a_numbered_user_without_rights(path):
    last = stages(path)[-1]
    assert [rest for word, rest in last if word == "USER"] == ["65532:65532"]
    words = [word for word, _ in last]
    assert "RUN" not in words[words.index("USER") :]


def test_it_starts_without_a_shell(path):
    started = [rest for word, rest in stages(path)[-1] if word in ("ENTRYPOINT", "CMD")]
    assert started
    assert all(rest.startswith('["') for rest in started)


def test_nothing_is_added_from_the_network_but_packages(path):
    assert not arguments(path, "ADD")
    assert not [rest for rest in arguments(path, "RUN") if re.search(r"\b(curl|wget)\b", rest)]


def test_packages_are_the_files_that_are_tested(path):
    known = ("-c constraints-hashes.txt", "--require-hashes", "--no-index")
    for run in arguments(path, "RUN"):
        for command in run.split("&&"):
            if re.search(r"\bpip\b.* install\b", command):
                assert any(option in command for option in known)
            if re.search(r"\buv build\b", command):
                assert "--build-constraints constraints-hashes.txt" in command
            assert "apt" not in command.split()  # a base has what is needed


def test_no_secret_is_an_argument_or_a_variable(path):
    told = " ".join(arguments(path, "ARG", "ENV"))
    assert not re.search(r"password|secret|token|credential|_key\b|://", told, re.IGNORECASE)
    mounts = re.findall(r"--mount=(\S+)", " ".join(arguments(path, "RUN")))
    assert mounts
    assert {mount.split(",")[0] for mount in mounts} == {"type=secret", "type=cache"}


def test_both_images_take_the_same_arguments(path):
    told = [rest.partition("=")[0] for rest in arguments(path, "ARG")]
    assert told == ["PYTHON_IMAGE", "VERSION", "REVISION", "CREATED"]
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"--build-arg (\w+)=", makefile)) == set(told)
