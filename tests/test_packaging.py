"""The house rules that a change elsewhere could break unnoticed."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import vglab

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vglab"
# A module knows only those to its left, its own private helpers aside.
ORDER = (
    "data", "models", "initialization", "train", "probe", "theory", "sweep", "diagnose",
    "explain", "evaluate", "claims", "exercises", "plot",
)  # fmt: skip
MAY_IMPORT = {"matplotlib": {"plot", "_pictures"}, "shap": {"_shap"}, "lime": {"_lime"}}
LAZY = ("matplotlib", "shap", "lime", "skimage", "sklearn", "pandas", "torchvision", "tqdm.auto")
OPTIONAL = {"IPython"}  # there wherever a notebook is
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted(PACKAGE.glob("*.py"))
LIBRARY = [path for path in MODULES if not path.stem.startswith("__")]
TEACHING = sorted((PACKAGE / "assignments").glob("*.py"))


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=path.stem) for path in paths]


def declared(*extras: str) -> dict[str, SpecifierSet]:
    also = (each for extra in extras for each in PROJECT["optional-dependencies"][extra])
    wanted = map(Requirement, [*PROJECT["dependencies"], *also])
    return {canonicalize_name(each.name): each.specifier for each in wanted}


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name: str) -> dict[str, Version]:
    exact = (line.split("==") for line in lines(name) if "==" in line)
    return {canonicalize_name(project): Version(version) for project, version in exact}


def imports(path: Path) -> set[str]:
    """List what a module imports, at its top or inside a function: `vglab.models`, `torch.nn`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= set(names) if node.module == "vglab" else {str(node.module)}
    return found


def outside(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"vglab"} - sys.stdlib_module_names


def inside_package(path: Path, package: str = "vglab") -> set[str]:
    """List the modules of a package of ours that a module imports."""
    parts = [name.removeprefix(f"{package}.") for name in imports(path) if name.startswith(package)]
    found = {part.split(".")[0] for part in parts}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
    return found - {package}


def inside(path: Path) -> set[str]:
    known = {module.stem for module in LIBRARY}
    return {name.split(".")[1] for name in imports(path) if name.startswith("vglab.")} & known


@pytest.mark.parametrize("name", ["constraints/colab.txt", "requirements.txt"])
def test_declared_ranges_admit(name: str) -> None:
    held = pins(name)
    refused = [
        f"{project}{specifier} refuses {held[project]}"
        for project, specifier in declared("teaching").items()
        if project in held and not specifier.contains(held[project])
    ]
    assert not refused


def test_every_dependency_is_pinned_for_the_book() -> None:
    assert declared("teaching").keys() <= pins("requirements.txt").keys()


def test_every_requirement_is_pinned() -> None:
    for path in (ROOT / "requirements.txt", *ROOT.glob("*/requirements.txt")):
        wanted = lines(path.relative_to(ROOT).as_posix())
        loose = [line for line in wanted if not re.fullmatch(r"[\w.\[\]-]+==\S+", line)]
        assert loose in ([], ["-e ."]), path


def test_pythons() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert 'python: ["3.11", "3.12", "3.13"]' in workflow


@pytest.fixture(scope="module")
def owners() -> Mapping[str, list[str]]:
    return packages_distributions()


@pytest.mark.parametrize("path", named(MODULES))
def test_imports_are_declared(path: Path, owners: Mapping[str, list[str]]) -> None:
    for package in outside(path) - OPTIONAL:
        distributions = {canonicalize_name(name) for name in owners.get(package, [package])}
        assert distributions & declared().keys(), f"{path.name} imports {package}"


@pytest.mark.parametrize("path", named(TEACHING))
def test_imports_for_instructors_are_declared(path: Path, owners: Mapping[str, list[str]]) -> None:
    for package in outside(path):
        distributions = {canonicalize_name(name) for name in owners.get(package, [package])}
        assert distributions & declared("teaching").keys() or path.stem == "session"


def test_only_the_command_line_knows_the_instructors_tools() -> None:
    knowing = {path.stem for path in MODULES if "vglab.assignments.command" in imports(path)}
    assert not any("assignments" in inside_package(path) for path in LIBRARY)
    assert knowing <= {"__main__"}
    graph = {path.stem: inside_package(path, "vglab.assignments") for path in TEACHING}
    assert list(TopologicalSorter(graph).static_order())  # raises where there is a circle


@pytest.mark.parametrize("path", named(LIBRARY))
def test_only_one_module_imports(path: Path) -> None:
    strangers = {name for name, places in MAY_IMPORT.items() if path.stem not in places}
    assert not outside(path) & strangers


def test_every_module_has_its_place() -> None:
    public = {path.stem for path in LIBRARY if not path.stem.startswith("_")}
    assert public <= set(ORDER)


def test_imports_go_one_way() -> None:
    graph = {path.stem: inside(path) for path in LIBRARY}
    # `Diagnosis.plot()` draws itself when asked; nothing else knows `plot`.
    graph.get("diagnose", set()).discard("plot")
    reached: dict[str, set[str]] = {}
    for module in TopologicalSorter(graph).static_order():  # raises where there is a circle
        near = graph[module]
        through = (reached[each] for each in near if each.startswith("_"))
        reached[module] = {each for each in near if not each.startswith("_")}.union(*through)
    for module in graph.keys() & set(ORDER):
        right = [each for each in reached[module] if ORDER.index(each) >= ORDER.index(module)]
        assert not right, f"{module} knows {right}, which stand to its right"


def test_diagnose_imports_plot_only_when_asked() -> None:
    path = PACKAGE / "diagnose.py"
    if not path.exists():
        pytest.skip("no diagnose yet")
    top = ast.parse(path.read_text(encoding="utf-8")).body
    assert not any("plot" in ast.dump(node) for node in top if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("path", named(MODULES) + named(TEACHING))
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_import_is_cheap() -> None:
    code = f"import sys, vglab; print(*[name for name in {LAZY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_one_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert vglab.__version__ == PROJECT["version"]
    assert f"\nversion: {vglab.__version__}\n" in citation


def test_the_address_stands_in_one_place() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    address = re.findall(r"^ +url: https://[^/\s]+/(\S+)", config, re.M)
    assert len(address) == 1
    listed = subprocess.run(
        ["git", "grep", "-lI", "--fixed-strings", address[0]], cwd=ROOT, capture_output=True
    )
    holders = listed.stdout.decode().splitlines()
    assert [name for name in holders if not re.fullmatch(r"book/.+\.ipynb", name)] == [
        "_config.yml"
    ]


def test_workflows_pin_actions_and_grant_nothing() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        uses = re.findall(r"uses: .*", text)
        assert uses and all(re.fullmatch(r"uses: \S+@[0-9a-f]{40} # v[\d.]+", use) for use in uses)
        assert "\npermissions: {}\n" in text


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".github/workflows/test.yml"])
def test_commands_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    text = (ROOT / name).read_text(encoding="utf-8")
    told = set(re.findall(r"(?:^|`|run: )make ([a-z-]+)", text, re.M))
    assert told and told <= targets


@pytest.fixture(scope="module")
def colab() -> ModuleType:
    spec = importlib.util.spec_from_file_location("colab", ROOT / "constraints" / "colab.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "constraints")  # as when it is run
        spec.loader.exec_module(module)
    return module


def test_colab_list_is_read_as_published(colab: ModuleType) -> None:
    freeze = (
        "# comment\nscikit_learn==1.6.1\nen_core @ https://host/en_core-3.8.0-py3-none-any.whl#sha\n"
        "torch @ https://host/whl/cpu/torch-2.11.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl\n"
        "google-colab @ file:///colabtools/dist/google_colab-1.0.0.tar.gz\n"
    )
    expected = {"scikit-learn": "1.6.1", "en-core": "3.8.0", "torch": "2.11.0"}
    assert colab.versions(freeze) == expected
    with pytest.raises(colab.ColabError, match="numpy"):
        colab.constraints(freeze, date(2026, 1, 1))


def test_colab_list_makes_itself_again(colab: ModuleType) -> None:
    stored = colab.LIST.read_text(encoding="utf-8")
    published = re.search(r"\d{4}-\d\d-\d\d", stored)
    assert published is not None
    again = colab.constraints(
        stored + "\nx @ https://h/x-1-cp313-a.whl", date.fromisoformat(published[0])
    )
    assert again == stored


def test_colab_notices_a_version_that_moved(colab: ModuleType) -> None:
    before = {"numpy": "2.1.3", "torch": "2.11.0"}
    added = dict.fromkeys(colab.LACKING, "1")
    assert colab.moved(before, before | added) == []
    assert colab.moved(before, {"torch": "2.11.0"} | added) == ["numpy: 2.1.3 became missing"]
    assert colab.moved(before, before | added | {"numpy": "2.2.0", "shap": "1"}) == [
        "numpy: 2.1.3 became 2.2.0",
        "shap: came unasked",
    ]
    assert "lime: is missing" in colab.moved(before, before)
