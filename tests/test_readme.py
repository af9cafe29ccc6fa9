"""The README's commands name scripts, settings and files that exist."""

import re
import shlex
import subprocess

import pytest

from tests.conftest import ROOT
from tunebook.commandline.names import compose_config
from tunebook.sweep import points

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python src/(train|compare)\.py([^\n`|#]*)", README)))
REFUSED = ("sweep.of=", "adadleta", "kernel_size=3,15", "--help")


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
        request, _ = points.read([word for word in words if word != "-m"])
        assert next(points.to_check(request))
    else:
        assert compose_config("config" if script == "train" else script, words)


def test_links_and_targets_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        if target != "are":
            assert f"\n{target}:" in makefile
    for picture in re.findall(r"!\[.*\]\((.+)\)", README):
        assert (ROOT / picture).is_file()
