"""Check the package's structure: imports, lengths of files and functions, and the map."""

import ast
import graphlib
from pathlib import Path

import pytest

from tunebook.cli.dispatch import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tunebook"
FOUNDATION = {
    "config",
    "machine",
    "metrics",
    "orphans",
    "program",
    "randomness",
    "redaction",
    "run_folder",
    "tags",
    "text_output",
    "torchvision_operators",
    "torchmetrics_import",
    "untrusted",
}
LEAVES = {"networks", "losses", "schedules", "task", "data", "training", "tracking", "analysis"}
UPPER = {"runs", "sweeps", "report", "schema", "session", "api", "bench", "cli"}
ENTRIES = {"__init__", "__main__"}
# The task's input is the batch that a data loader returns: a type without behaviour.
TYPES_SHARED = {("task", "data")}
KNOW_HYDRA = {"config", "cli", "runs", "sweeps", "schema", "api"}
# A program of its own, beside which ours is measured; nothing imports it.
HYDRA_PEER = PACKAGE / "bench" / "peers" / "hydra_optuna_peer.py"
MAX_FILE, MAX_FUNCTION = 400, 40
FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "tunebook"
                else {node.module}
            )
    return found


def packages_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("tunebook.")} - {
        package_of(path)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
class TestFile:
    def test_imports_point_one_way(self, path: Path) -> None:
        here = package_of(path)
        allowed = FOUNDATION
        if here in UPPER | ENTRIES:
            allowed = FOUNDATION | LEAVES | UPPER
        if here == "runs":
            allowed = allowed - {"sweeps", "report", "schema", "api"}
        if here == "report":
            allowed = FOUNDATION | {"data", "tracking", "analysis"}
        if here not in ENTRIES:
            allowed = allowed - {"cli"}
        wrong = {
            other for other in packages_used(path) - allowed if (here, other) not in TYPES_SHARED
        }
        assert not wrong, f"{here} may not import {wrong}"

    def test_only_the_top_knows_hydra(self, path: Path) -> None:
        libraries = {name.split(".")[0] for name in imports(path)}
        knows = package_of(path) in KNOW_HYDRA or path == HYDRA_PEER
        assert knows or not libraries & {"hydra", "omegaconf"}

    def test_is_a_sitting_long_and_says_what_it_is(self, path: Path) -> None:
        text = path.read_text()
        tree = ast.parse(text)
        assert text.count("\n") <= MAX_FILE
        assert ast.get_docstring(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                docstring = len((ast.get_docstring(node) or "").splitlines())
                assert (node.end_lineno or 0) - node.lineno + 1 - docstring <= MAX_FUNCTION, (
                    node.name
                )


def module_name(path: Path) -> str:
    """Return the dotted name by which a file is imported."""
    parts = ["tunebook", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def modules_used(name: str) -> set[str]:
    """Return the modules of the package that one imports, also inside its functions.

    Imports for type checkers alone are left out.
    """
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(MODULES[name].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
        nodes += ast.iter_child_nodes(node)
    return found & MODULES.keys() - {name}


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: modules_used(name) for name in MODULES}
    assert sum(map(len, graph.values())) > len(graph)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_every_package_is_on_the_map() -> None:
    map_text = (PACKAGE / "__init__.py").read_text()
    packages = {package_of(path) for path in FILES} - ENTRIES
    assert packages == FOUNDATION | LEAVES | UPPER
    for name in packages:
        assert f"\n{name} " in map_text, f"{name} is not on the map"


def test_scripts_are_thin() -> None:
    scripts = {path.stem: path for path in (ROOT / "src").glob("*.py")}
    assert set(scripts) == set(COMMANDS)
    for name, path in scripts.items():
        assert imports(path) == {f"tunebook.cli.{name}"}
        assert len(path.read_text().splitlines()) <= 10


def test_top_level_holds_the_design_and_nothing_else() -> None:
    import subprocess

    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    tops = {name.split("/")[0] for name in files if not name.startswith(".")}
    allowed = {
        "conf",
        "docs",
        "src",
        "tests",
        "pyproject.toml",
        "README.md",
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        "constraints.txt",
    }
    assert tops <= allowed
