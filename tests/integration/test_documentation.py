"""The commands in README and docs/ run, and the links and files that the pages name are there.

The commands of a page run in the order of the page, in a folder of their own. `shrunk` states how
each is made smaller. The commands of a project are run by test_project_runs.py and
test_extending.py, and the tutorial by test_tutorial.py.
"""

import functools
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tunebook
from tests.conftest import ROOT, Cli, in_folder, run_process, runs_in
from tests.helpers import faults
from tests.helpers.pages import files_shown
from tests.helpers.runs import with_store
from tunebook import program

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
MAX_README_LINES = 150
# Files that a reader is told to make, but that a page does not show with their path.
EXAMPLES = {"conf/augmentation/scans.yaml"}

# A command of a training that is smaller has these values, whatever the page says.
SMALL = {
    "data": "digits", "trainer": "cpu", "trainer.limit_train_batches": "2",
    "trainer.limit_val_batches": "1", "trainer.limit_test_batches": "1",
    "tracking.system_metrics": "false",
}  # fmt: skip
SMALL_SWEEP = {"sweep.workers": "1", "sweep.threads": "1"}
MAX_EPOCHS = 3
PHOTOS = 200  # images in the folder photos/, of two classes
OWN_IMAGES = "data=image_folder"
# These name machines that a test does not have, a kernel that is larger than the digits allow, or
# many runs.
REPLACED = {
    "sweep.storage": None, "sweep.ray.address": None, "tracking.uri": None,
    "sweep.slurm.more": "sweep.slurm.cluster=local", "model.kernel_size": "model.kernel_size=3",
    "folds": "folds=2",
}  # fmt: skip
# What a page takes for granted: runs that its commands read.
BEFORE = {
    "answers.md": [
        "train -m model=mlp trainer.precision=32-true,bf16-mixed seed=1,2 sweep.name=example",
        "train -m optimizer=adam,sgd seed=1,2 'sweep.name=study finalist 1'",
    ],
    "resuming.md": ["train"],
}


def value_smaller(key: str, value: str) -> str:
    """Return the first two of several values, at most 3 epochs, and 2 trials."""
    if key == "trainer.max_epochs":
        return str(min(int(value), MAX_EPOCHS))
    if key == "sweep.trials":
        return "2"
    if value.startswith("range("):
        return "range(2)"
    return value if "(" in value or value.startswith("[") else ",".join(value.split(",")[:2])


def shrunk(words: list[str]) -> list[str]:
    """Return the overrides of a training or a sweep, smaller.

    The data are the digits, unless they are the reader's own. An epoch has two batches and a run
    three epochs at most. A sweep has one worker, a search two trials, and a list of values the
    first two.
    """
    small = dict(SMALL)
    if OWN_IMAGES in words:
        del small["data"]
    if any(word.startswith("experiment=mnist_fast") for word in words):
        small["model.kernel_size"] = "2"  # LeNet pools digits to 2 x 2 pixels
    if "-m" in words:
        small |= SMALL_SWEEP
        of_another = {"sweep=final", "sweep=ablation"} & set(words)
        small |= {"sweep.seeds": "2"} if of_another else {}
        is_auto = "sweep=auto" in words
        small |= {"budget": "2", "sweep.test": "false"} if is_auto else {}
        searched = any(word.startswith("sweep=") for word in words) and not (of_another or is_auto)
        small |= {"sweep.trials": "2"} if searched else {}
    small |= {"trainer.max_epochs": "1"} if "trainer.max_epochs" not in keys(words) else {}
    result = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in REPLACED:
            result += [REPLACED[key]] if REPLACED[key] else []
        elif key not in small:
            result += [f"{key}={value_smaller(key, value)}" if equals else word]
    return result + [f"{key}={value}" for key, value in small.items()]


def keys(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words}


def commands(page: Path) -> list[str]:
    """Return the commands of a page: the lines of its sh blocks, and those within sentences."""
    text = re.sub(r"```sh\n(?:tunebook init|cd my_project).*?```", "", TEXTS[page], flags=re.DOTALL)
    found = re.findall(r"```sh\n(.*?)```|`((?:python src/|tunebook )[^`\n]+)`", text, re.DOTALL)
    lines = [line for block, inline in found for line in (block or inline).splitlines()]
    return [line for line in lines if line.strip() and "..." not in line]


class Folder:
    """Run the commands of a page in a folder, with the folder's runs in place of `<run id>`."""

    def __init__(self, path: Path, cli: Cli) -> None:
        self.path = path
        self.cli = cli
        (path / "images").symlink_to("photos")
        random = np.random.default_rng(0)
        for number in range(PHOTOS):
            file = path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 128 + number % 2 * 127, (9, 8, 3), np.uint8)
            Image.fromarray(pixels).save(file)
        with_store(path)

    def run(self, line: str) -> None:
        """Run one line of a page and assert that it succeeds."""
        if line.startswith(("make ", "eval ", "tunebook --help")):
            subprocess.run(["bash", "-ec", self._in_shell(line)], check=True, cwd=ROOT)
            return
        if "resume=" in line:
            self._interrupt_a_run()
        words = shlex.split(self._filled(line), comments=True)
        script = words[1].removeprefix("src/") if words[0] == "python" else f"{words[1]}.py"
        # A relative `data.root` starts at the repository.
        folder = f"root={self.path}/photos"
        overrides = [word.replace("root=photos/", folder) for word in words[2:]]
        if script == "train.py" and not {"resume", "--help"} & keys(overrides):
            overrides = shrunk(overrides)
        if script not in ("schema.py", "init.py") and "--help" not in overrides:
            overrides += self._places(script, overrides)
        # What a cluster starts may outlive the sweep.
        is_alone = script == "bench.py" or any("sweep.executor=" in word for word in overrides)
        result = (run_process if is_alone else self.cli)(script, *overrides)
        assert result.code == 0, (line, overrides, result.out, result.err)

    @staticmethod
    def _in_shell(line: str) -> str:
        """Return a line for bash: `make` only says what it would do."""
        tool = f'tunebook() {{ {sys.executable} {program.FILE} "$@"; }}; '
        return line.replace("make ", "make -n ") if line.startswith("make ") else tool + line

    def _places(self, script: str, overrides: list[str]) -> list[str]:
        store, outputs = in_folder(self.path)
        if script == "bench.py":
            return ["--pairs=1"]
        cache = f"cache_root={self.path}/cache"
        if script == "data.py":
            return [outputs, cache]
        if script in ("evaluate.py", "predict.py"):
            return [store]
        return [store, outputs, *([f"data.{cache}"] if OWN_IMAGES in overrides else [])]

    def _filled(self, line: str) -> str:
        """Return a line with the newest tested run or the newest sweep in place of `<...>`."""
        for run in reversed(runs_in(self.path) if "<" in line else []):
            is_sweep = run.data.tags.get("sweep.kind") == "sweep"
            if "<run id>" in line and not is_sweep and "test/acc" in run.data.metrics:
                return line.replace("<run id>", run.info.run_id)
            if "<name" in line and is_sweep:
                return re.sub("<name[^>]*>", run.data.tags["sweep.name"], line)
        return line

    def _interrupt_a_run(self) -> None:
        """Press Ctrl-C in a run, for `resume=` to find."""
        words = (*shrunk([]), *in_folder(self.path))
        code = faults.run_train(
            words, self.path / "log.txt", faults.signal_in_training, signal.SIGINT, 2
        )
        assert code == 130, (self.path / "log.txt").read_text()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=() if page == README else pytest.mark.slow)
        for page in PAGES
        if commands(page)
    ],
)
def test_commands_run(
    page: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path, cli)
    for line in BEFORE.get(page.name, []):
        folder.run(f"tunebook {line}")
    for line in commands(page):
        folder.run(line)


def test_errors_are_printed_as_the_readme_shows(cli: Cli, tmp_path: Path) -> None:
    block = re.findall(r"```\n(\$ .*?)```", TEXTS[README], flags=re.DOTALL)[0].splitlines()
    assert len(block) == 4
    for command, message in zip(block[::2], block[1::2], strict=True):
        _, script, *words = shlex.split(command.removeprefix("$ "))
        result = cli(script.removeprefix("src/"), *words, *in_folder(tmp_path))
        assert (result.code, result.err) == (2, message + "\n")
    assert not any(tmp_path.iterdir())


def called_smaller(call: Callable[..., object], places: tuple[str, ...], *words: str) -> object:
    """Call `tunebook.train` or `tunebook.sweep` with smaller overrides."""
    several = "sweep" in call.__name__
    smaller = [word for word in shrunk([*words, *["-m"] * several]) if word != "-m"]
    return call(*smaller, *places)


@pytest.mark.parametrize(
    "page", [README, pytest.param(ROOT / "docs" / "python.md", marks=pytest.mark.slow)]
)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "black.png")
    places = with_store(tmp_path)
    for name in ("train", "sweep"):
        call = functools.partial(called_smaller, getattr(tunebook, name), places)
        monkeypatch.setattr(tunebook, name, call)
    for name in ("load", "compare"):
        monkeypatch.setattr(tunebook, name, with_places(getattr(tunebook, name), places))
    blocks = re.findall(r"```python\n(import tunebook\n.*?)```", TEXTS[page], flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page.name, "exec"), {})


def with_places(call: Callable[..., object], places: tuple[str, ...]) -> Callable[..., object]:
    return lambda *words: call(*words, *places)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_targets_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", TEXTS[page]):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXTS[page]):
        assert link.startswith("https://") or (page.parent / link).is_file(), link
    for file in re.findall(r"`((?:tests|conf|src)/[\w/.]+\.\w+)`", TEXTS[page]):
        assert (ROOT / file).is_file() or file in {*EXAMPLES, *files_shown(TEXTS[page])}, file


def test_readme_is_short_and_names_each_page() -> None:
    text = TEXTS[README]
    assert len(text.splitlines()) <= MAX_README_LINES
    assert all(f"(docs/{page.name})" in text for page in PAGES[1:])
