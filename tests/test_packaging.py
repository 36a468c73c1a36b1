"""How the project is packed: one place for every fact, nothing lies about."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it to Python 3.10

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    *("ipc_magic", "tests", "examples"),
    *("LICENSE", "README.md", "pyproject.toml", "setup.cfg"),
}
# What setuptools calls in setup.cfg what pyproject.toml calls otherwise.
SAME = {
    "author": "authors",
    "author_email": "authors",
    "entry_points": "entry-points",
    "extras_require": "optional-dependencies",
    "install_requires": "dependencies",
    "license_file": "license-files",
    "license_files": "license-files",
    "long_description": "readme",
    "project_urls": "urls",
    "python_requires": "requires-python",
    "url": "urls",
}


@pytest.fixture
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return parser


@pytest.fixture
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_setup_cfg_holds_what_only_setuptools_reads(setup_cfg):
    assert {name: set(setup_cfg[name]) for name in setup_cfg.sections()} == {
        "metadata": {"version"},
        "options": {"packages"},
        "options.packages.find": {"include"},
        "options.package_data": {"ipc_magic", "ipc_magic.render"},
    }


def test_no_key_is_in_both_files(setup_cfg, pyproject):
    # setuptools drops one of the two with no more than a line in its log.
    assert "setuptools" not in pyproject["tool"]
    keys = {*setup_cfg["metadata"], *setup_cfg["options"]}
    names = {SAME.get(key, key.replace("_", "-")) for key in keys}
    assert not names & set(pyproject["project"])
    assert pyproject["project"]["dynamic"] == ["version"]


def test_the_version_is_one_literal_read_without_importing(setup_cfg):
    assert setup_cfg["metadata"]["version"] == "attr: ipc_magic.__version__"
    tree = ast.parse((ROOT / "ipc_magic" / "__init__.py").read_text(encoding="utf-8"))
    values = []
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if [ast.unparse(target) for target in targets] == ["__version__"]:
                values.append(ast.literal_eval(node.value))
    assert len(values) == 1
    assert importlib.import_module("ipc_magic").__version__ == values[0]


def test_the_installed_version_is_this_one():
    try:
        installed = importlib.metadata.version("ipc_magic")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ipc_magic is not installed here")
    assert installed == importlib.import_module("ipc_magic").__version__


def test_the_package_promises_types_and_carries_its_data(setup_cfg):
    assert (ROOT / "ipc_magic" / "py.typed").read_text() == ""
    data = setup_cfg["options.package_data"]
    for package, patterns in data.items():
        folder = ROOT / package.replace(".", "/")
        for pattern in patterns.split():
            assert list(folder.glob(pattern)), f"{package}: no file is {pattern}"
    # `find:` sees folders with an `__init__.py` only.
    for path in (ROOT / "ipc_magic").rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path.parent


def test_entry_points_lead_somewhere(pyproject):
    groups = pyproject["project"]["entry-points"]
    assert groups["pytest11"] == {"ipc_magic": "ipc_magic.pytest_plugin"}
    for points in groups.values():
        for place in points.values():
            importlib.import_module(place.partition(":")[0])


def test_the_top_level_holds_what_the_design_names():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    patterns = [pattern.strip("/") for pattern in ignored]
    found = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and not any(fnmatch(path.name, pattern) for pattern in patterns)
    }
    assert found <= TOP_LEVEL, found - TOP_LEVEL
