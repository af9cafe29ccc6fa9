"""A run on a data set of the package `datasets` gives what one on images in memory gives."""

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import tunebook
from tests.conftest import Cli
from tests.helpers.runs import RUN, TIMES, with_store
from tunebook.config.validation import SettingError

OWN = tuple(word for word in RUN if not word.startswith("data="))


def png(pixels: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()


def saved_digits(folder: Path) -> Path:
    """Return a folder with the images of data=digits, in the same order and splits."""
    bunch = load_digits()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))}
    )
    splits = {}
    for split, is_in in (("train", lambda i: i % 5 != 0), ("test", lambda i: i % 5 == 0)):
        chosen = [i for i in range(len(bunch.target)) if is_in(i)]
        rows = {
            "image": [{"bytes": png(bunch.images[i]), "path": None} for i in chosen],
            "label": [int(bunch.target[i]) for i in chosen],
        }
        splits[split] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(splits).save_to_disk(folder / "digits")
    return folder / "digits"


def figures(run: tunebook.Run) -> dict[str, object]:
    """Return the figures of a run that do not depend on the time."""
    metrics = {name: value for name, value in run.metrics.items() if not name.startswith(TIMES)}
    history = run.history[[name for name in run.history if not name.startswith(TIMES)]]
    return {"metrics": metrics, "history": history.to_dict()}


@pytest.mark.slow
def test_a_data_set_of_hugging_face_trains_to_the_same_bits_as_in_memory(
    cli: Cli, tmp_path: Path
) -> None:
    place = saved_digits(tmp_path)
    store = with_store(tmp_path)
    cache = f"data.cache_root={tmp_path}/cache"
    in_memory = tunebook.train(*RUN, *store)
    for more in ((), ("data.cache=none", "data.num_workers=2")):
        run = tunebook.train("data=huggingface", f"data.root={place}", cache, *more, *OWN, *store)
        assert figures(run) == figures(in_memory)
    moved = place.rename(tmp_path / "moved")
    words = (f"run={run.id}", store[0])
    with pytest.raises(SettingError, match="data_root"):
        tunebook.load(run.id, *store).evaluate()
    result = cli("evaluate.py", *words, f"data_root={moved}")
    assert result.code == 0, result.err
    assert f"{in_memory.metrics['test/acc']:.4f}"[:5] in result.out
