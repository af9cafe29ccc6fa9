"""Trials are forked from a process that has imported what they need, which is counted here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.runs import with_store

# Imports what the fork server does, then runs a trial's words in the same process.
SCRIPT = """
import gc, json, sys
import tunebook.sweeps.executors.preloaded_results
from tunebook.config.compose import recompose
from tunebook.config.run_config import RunConfig
from tunebook.runs.execute import execute
from tunebook.tracking import describe
imported, frozen = set(sys.modules), gc.get_freeze_count()
computed = describe.package_versions.cache_info().currsize
with open(sys.argv[1], "w") as file:
    execute(RunConfig.of(recompose("config", sys.argv[2:])))
    json.dump([sorted(set(sys.modules) - imported), frozen, computed], file)
"""


def test_a_trial_imports_next_to_nothing(tmp_path: Path) -> None:
    words = (
        f"hydra.run.dir={tmp_path}/run",
        "data=digits",
        "trainer=cpu",
        "model=mlp",
        "trainer.max_epochs=1",
    )
    found = tmp_path / "imported.json"
    places = (f"hydra.run.dir={tmp_path}/run", *with_store(tmp_path))
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(found), *places, *words],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    later, frozen, computed = json.loads(found.read_text())
    assert frozen > 100_000  # objects that a trial's garbage collector does not look at
    assert computed == 1
    assert len(later) < 60, later
    slow = {"mlflow", "torch", "sklearn", "scipy", "matplotlib", "sqlalchemy", "pandas"}
    assert not slow & {name for name in later if "." not in name}
