"""The commands in README and docs/ name scripts, settings and files that exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunebook.config.compose import compose_config
from tunebook.sweeps import points

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
COMMAND = re.compile(r"(?:python src/|tunebook )(train|compare|schema)(?:\.py)?\b( [^\n`|#]*|)")
COMMANDS = sorted({found for text in TEXTS.values() for found in COMMAND.findall(text)})
# tests/integration/test_project.py runs the commands of a project.
REFUSED = ("sweep.of=", "adadleta", "kernel_size=3,15", "--help", "experiment=first", "sweep=last")
MAX_README_LINES = 150


@pytest.mark.parametrize(("script", "arguments"), COMMANDS, ids=" ".join)
def test_command_composes(script: str, arguments: str) -> None:
    if any(word in arguments for word in REFUSED):
        return
    # The command can be typed as it is.
    assert (
        subprocess.run(["bash", "-n", "-c", f"python src/{script}.py{arguments}"]).returncode == 0
    )
    words = shlex.split(arguments)
    if "-m" in words:
        request, base = points.read([word for word in words if word != "-m"])
        assert next(points.to_check(request, base))
    else:
        assert compose_config("config" if script == "train" else script, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_targets_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", TEXTS[page]):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXTS[page]):
        assert link.startswith("https://") or (page.parent / link).is_file(), link
    for file in re.findall(r"`((?:tests|conf|src)/[\w/.]+\.\w+)`", TEXTS[page]):
        assert (ROOT / file).is_file() or file in EXAMPLES, file


# Files that a reader is told to make.
EXAMPLES = {
    "conf/optimizer/asgd.yaml", "conf/loss/margin.yaml", "conf/metrics/kappa.yaml",
    "conf/model/linear.yaml", "conf/data/mine.yaml",
}  # fmt: skip


def test_readme_is_short_and_names_each_page() -> None:
    text = TEXTS[ROOT / "README.md"]
    assert len(text.splitlines()) <= MAX_README_LINES
    assert all(f"(docs/{page.name})" in text for page in PAGES[1:])
