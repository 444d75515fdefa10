"""
The distribution: what `make dist` builds, and what one has who installs it.

Nothing is fetched: the fresh environments get copies of the packages that this one has, those and no others that the
wheel asks for, and pip is told to look nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.markdown import ROOT
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess

pytestmark = pytest.mark.skipif(find_spec("build") is None, reason="needs build")

_LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".tidegate",
    "*.egg-info",
    "dist",
    "build",
    "node_modules",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with the wheel and the source distribution of this very tree."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "tree", ignore=_LEFT_OUT, symlinks=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "tree")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """An environment after `pip install dist/*.whl`."""
    return environment(tmp_path_factory.mktemp("bare"), wheel, extra="")


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory):
    """An environment after `pip install 'dist/*.whl[gateway]'`."""
    return environment(tmp_path_factory.mktemp("full"), wheel, extra="gateway")


def environment(folder, wheel, *, extra):
    """Make an environment with what the wheel asks for, and install the wheel. Return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in closure(wheel, extra):
        copy_of(metadata.distribution(name), packages)
    python = folder / "bin" / "python"
    target = f"{wheel}[{extra}]" if extra else str(wheel)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--quiet", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def closure(wheel, extra):
    """Return the names of all distributions that the wheel needs, by what they say of themselves."""
    waiting = [(one, extra) for one in required(wheel)]
    found: dict[tuple[str, str], None] = {}
    while waiting:
        requirement, extra_of_parent = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra_of_parent}):
            continue
        for wanted in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), wanted)
            if key not in found:
                found[key] = None
                its = metadata.distribution(requirement.name).requires or []
                waiting += [(Requirement(one), wanted) for one in its]
    return sorted({name for name, _ in found})


def required(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    return [Requirement(one) for one in re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE)]


def copy_of(distribution, packages):
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, packages / file)


def said_by(program, *arguments, status=0):
    """Run it where nothing of this repository is in sight."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GATEWAY_"))}
    done = subprocess.run(
        [str(program), *arguments],
        cwd=program.parent,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    there = {
        path.relative_to(ROOT).as_posix()
        for package in ("gateway", "publisher")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts)
    }
    assert shipped == there
    assert {"gateway/py.typed", "publisher/py.typed", "publisher/scripts/append.lua"} <= shipped
    assert any(name.startswith("gateway/http/static/") for name in shipped)


def test_the_source_distribution_can_be_tested_and_deployed(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"Makefile", ".ci/run", "LICENSE", "CHANGELOG.md", "etc/gateway.yaml", "tests/conftest.py"}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert expected <= names
    assert not [name for name in names if "__pycache__" in name or "node_modules" in name]


def test_the_publisher_comes_with_two_dependencies(wheel, bare):
    assert closure(wheel, "") == ["orjson", "redis"]
    code = "import publisher, publisher.sync, sys; print(publisher.__file__)"
    assert str(bare.parent.parent) in said_by(bare, "-c", code)


def test_without_the_extra_there_is_no_daemon(bare):
    said = said_by(bare, "-m", "gateway", "serve", status=1)
    assert said == "gateway: the daemon is not installed: pip install 'tidegate[gateway]'\n"


def test_both_ways_to_start_it_say_the_version_of_the_distribution(full, wheel):
    version = f"tidegate {wheel.name.split('-')[1]}\n"
    assert said_by(full, "-m", "gateway", "--version") == version
    assert said_by(full.parent / "gateway", "--version") == version


async def test_what_the_extra_installs_serves_and_what_the_publisher_sends_arrives(full, bare, redis_url):
    async with Installed(full, redis_url) as gateway, connected(gateway, "42") as client:
        command = ["-m", "publisher", "--redis", redis_url, "user:42", "order.shipped", '{"order": 7}']
        said_by(bare, *command)
        assert (await client.next("order.shipped")).data == {"order": 7}


class Installed(GatewayProcess):
    """`gateway serve` from an environment that has it installed."""

    _path = ""

    def __init__(self, python, redis_url):
        super().__init__(redis_url)
        self._python = str(python)
