"""Measure what the framework costs, beside a plain PyTorch loop and other frameworks.

Usage: `python src/bench.py` (or `make bench`), with nothing else running on the machine. What is
compared takes turns, so that a machine whose speed drifts slows both. Each figure is a median. All
measurements are written to a file (JSON), too.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tunebook import program
from tunebook.config.output import quiet  # first: tunebook repairs torchvision's import

from tunebook.bench.commands import FIRST_STEP, measure_commands  # isort: skip
from tunebook.bench.images import measure  # isort: skip
from tunebook.bench.beside_keras import measure_keras  # isort: skip
from tunebook.bench.beside_sweeps import HYDRA, RAY, measure_sweeps_beside  # isort: skip
from tunebook.bench.memory import measure_memory  # isort: skip
from tunebook.bench.plain_loop import measure_plain_loop  # isort: skip
from tunebook.bench.profiles import import_profile, step_profile  # isort: skip
from tunebook.bench.sweeps import measure_sweeps  # isort: skip
from tunebook.bench.tables import Table, machine, write_json  # isort: skip
from tunebook.bench.whole import measure_whole  # isort: skip
from tunebook.cli.entry import BAD_INPUT, fail  # isort: skip
from tunebook.config.validation import format_value  # isort: skip

TABLES = ("plain", "keras", "whole", "commands", "sweeps", "ray", "hydra", "memory")
# Option -> what the interpreter that it names must have.
INTERPRETERS = {
    "--keras-python": "Keras",
    "--ray-python": "Ray Tune, Lightning and MLflow",
    "--hydra-python": "Hydra's Optuna sweeper, Lightning and MLflow",
}


def _names(text: str) -> list[str]:
    """Return the names of tables in a list with commas."""
    names = text.split(",")
    for name in names:
        if name not in TABLES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(TABLES)}")
    return names


def _interpreter(text: str) -> str:
    """Return the absolute path of a Python interpreter, since peers run in another folder."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{format_value(text)} is not a program")
    return str(Path(found).absolute())


def _refuse(message: str) -> NoReturn:
    """Report what argparse refused, without its usage."""
    fail(message, BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=" ".join(program.own_call(Path(sys.argv[0]).name)).removeprefix("python "),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=5, help="measurements, after one for warm-up")
    parser.add_argument(
        "--tables", type=_names, default=TABLES, help=f"some of {','.join(TABLES)} (all)"
    )
    parser.add_argument("--json", type=Path, default=Path("outputs/bench.json"), help="a file")
    for option, packages in INTERPRETERS.items():
        parser.add_argument(
            option, type=_interpreter, default=sys.executable, metavar="PYTHON",
            help=f"an interpreter that has {packages}",
        )  # fmt: skip
    parser.add_argument(
        "--profile", action="store_true", help="only show where a step's time and imports go"
    )
    parser.add_argument(
        "--images", type=Path, help="only measure reading the images in this folder's class folders"
    )
    parser.add_argument("--side", type=int, default=64, help="size of these images, in pixels")
    parser.add_argument("overrides", nargs="*", help="settings of what is trained, as for train.py")
    parser.error = _refuse  # type: ignore[method-assign]
    return parser


def _measured(arguments: argparse.Namespace) -> list[Table]:
    """Return the chosen tables, and print each as soon as it is there."""
    pairs, overrides = arguments.pairs, arguments.overrides
    measures: dict[str, Callable[[], Table]] = {
        "plain": lambda: measure_plain_loop(pairs, overrides),
        "keras": lambda: measure_keras(pairs, overrides, arguments.keras_python),
        "whole": lambda: measure_whole(pairs, overrides, arguments.keras_python),
        "commands": lambda: measure_commands(pairs),
        "sweeps": lambda: measure_sweeps(pairs),
        "ray": lambda: measure_sweeps_beside(RAY, pairs, arguments.ray_python),
        "hydra": lambda: measure_sweeps_beside(HYDRA, pairs, arguments.hydra_python),
        "memory": lambda: measure_memory(pairs, overrides),
    }
    found = []
    for name in arguments.tables:
        found.append(measures[name]())
        print(f"{found[-1].to_text()}", flush=True)
    return found


def main() -> None:
    """Run the benchmark and print its tables."""
    arguments = _parser().parse_args()
    quiet()
    if arguments.images:
        measure(arguments.images.absolute(), arguments.side, arguments.pairs)
    elif arguments.profile:
        print(step_profile(arguments.overrides))
        print(import_profile("train", [*FIRST_STEP, "tracking=off"]))
    else:
        print(f"{machine()}\n")
        write_json(_measured(arguments), arguments.json)
        print(f"all measurements: {arguments.json}")
