"""What a training step does beside a plain loop's is counted, so that it stays little."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

import tunebook
from tests.helpers.runs import with_store
from tunebook.bench.plain_loop import PlainLoop, parts_of
from tunebook.tracking import records
from tunebook.tracking.uploader import JOURNAL

SMALL = ("data=digits", "trainer=cpu", "model=mlp", "trainer.precision=32-true")
UNRECORDED = (
    "tracking.save_model=false",
    "tracking.save_pictures=false",
    "tracking.system_metrics=false",
)
FEW, MANY = 3, 9  # steps; the difference is what the steps cost
BOUNDED = 60  # operators of a step more than a plain loop has, which has about 450


def of_a_step(few: Counter[str], many: Counter[str]) -> dict[str, float]:
    return {name: (many[name] - few[name]) / (MANY - FEW) for name in many}


def operators(trained: profile) -> Counter[str]:
    """Return how often each operator was called, without those that others call."""
    events = [event for event in trained.events() if event.name.startswith("aten::")]
    return Counter(event.name for event in events)


def ours(folder: Path, steps: int) -> Counter[str]:
    words = (f"trainer.limit_train_batches={steps}", "trainer.max_epochs=1")
    (folder / str(steps)).mkdir()
    with profile(activities=[ProfilerActivity.CPU]) as trained:
        tunebook.train(*SMALL, *words, *UNRECORDED, *with_store(folder / str(steps)))
    return operators(trained)


def plain(steps: int) -> Counter[str]:
    loop = PlainLoop(parts_of([*SMALL, "tracking=off"]))
    loop.start_epoch(steps)
    with profile(activities=[ProfilerActivity.CPU]) as trained:
        loop.train(steps)
    return operators(trained)


def test_a_step_has_few_operators_beside_a_plain_loop(tmp_path: Path) -> None:
    step = of_a_step(ours(tmp_path, FEW), ours(tmp_path, MANY))
    of_plain = of_a_step(plain(FEW), plain(MANY))
    assert sum(of_plain.values()) > 50  # something was counted
    assert sum(step.values()) - sum(of_plain.values()) <= BOUNDED
    # A value is read from a tensor once, to see whether the loss is finite.
    assert step["aten::_local_scalar_dense"] <= 1


def test_an_epoch_is_one_record_of_metrics_for_each_call(tmp_path: Path) -> None:
    """Each record is written to the disk, and later sent, by itself."""
    found: dict[int, int] = {}
    for epochs in (2, 6):
        folder = tmp_path / str(epochs)
        folder.mkdir()
        words = (*SMALL, *UNRECORDED, f"trainer.max_epochs={epochs}")
        tunebook.train(*words, *with_store(folder))
        (journal,) = folder.glob(f"out/2*/*/{JOURNAL}")
        found[epochs] = sum(record["kind"] == "points" for record in records.read(journal))
    assert found[6] - found[2] <= 4 * 3


def test_training_begins_without_packages_that_only_results_need() -> None:
    code = (
        "import sys, tunebook.runs.execute;"
        "heavy = {'mlflow', 'scipy.stats', 'sklearn', 'torchvision'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
