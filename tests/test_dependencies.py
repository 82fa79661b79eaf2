"""What is imported is declared, and what is declared is imported; one version, written twice."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

from flannel import __version__
from flannel.networks.timm_network import INSTALLED_WEIGHTS

ROOT = Path(__file__).parent.parent
PACKAGES = ("flannel", "segmentation", "patching")


def named(requirements):
    return {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in requirements}


def imported():
    known = packages_distributions()
    names = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module.split(".")[0])
    names -= {*sys.stdlib_module_names, *PACKAGES}
    # Not every extra has to be installed where the tests run.
    return {known.get(name, [name])[0].lower().replace("_", "-") for name in names}


def test_imported_and_declared_are_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed, extras = named(project["dependencies"]), set()
    for group, requirements in project["optional-dependencies"].items():
        extras |= named(requirements) if group != "dev" else set()
    weights = {package.distribution for package in INSTALLED_WEIGHTS.values()}
    found = imported() | weights  # their files are read, no code of theirs is imported
    assert found <= needed | extras
    assert needed <= found


def test_the_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
