"""The six distributions have the same version, and the files of which each has a copy are the same."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted((ROOT / "packages").glob("*/pyproject.toml"))
PROJECTS = {
    path.parent: tomllib.loads(path.read_text()) for path in [ROOT / "shared/pyproject.toml", *PACKAGES]
}
pytestmark = pytest.mark.skipif(not PACKAGES, reason="only the whole repository has them")


def test_versions_are_one_and_lie_in_the_range_the_wheels_ask_for():
    (version,) = {project["project"]["version"] for project in PROJECTS.values()}
    text = (ROOT / "packages/sbs/buildtools/shared_dependency.py").read_text()
    major, minor, _ = (int(part) for part in version.split("."))
    assert f'RELEASED = ">={major}.{minor},<{major}.{minor + 1}"' in text
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_distributions_are_named_after_their_imports():
    for folder, project in PROJECTS.items():
        (name,) = (path.parent.name for path in (folder / "src").glob("*/__init__.py"))
        assert project["project"]["name"] == f"brainrules-{name}"
        assert list(project["project"]["scripts"]) == [name]
        assert (folder / "src" / name / "py.typed").is_file()
        assert {"authors", "classifiers", "license", "license-files", "urls"} <= set(project["project"])


@pytest.mark.parametrize("copied", ["LICENSE", "buildtools/shared_dependency.py", "cpp/common/core.cmake"])
def test_copies_are_equal(copied):
    found = [path for path in ROOT.glob(f"packages/*/{copied}") if path.is_file()]
    assert len(found) >= 4
    assert len({path.read_bytes() for path in found}) == 1


def test_extras_name_libraries_and_all_holds_them():
    for project in PROJECTS.values():
        extras = dict(project["project"]["optional-dependencies"])
        every = set(extras.pop("all"))
        assert every == {library for libraries in extras.values() for library in libraries}
        assert not any("brainrules" in library for library in every)
