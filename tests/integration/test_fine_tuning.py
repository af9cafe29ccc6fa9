"""Networks of libraries are trained, fine-tuned, tested and reproduced from the command line."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import Cli, in_folder, run_in_process, runs_in
from tests.helpers.pretrained import FINE_TUNED, NETWORK, write_weights
from tests.helpers.runs import with_store
from tunebook.tags import WEIGHTS

SMALL = ("trainer.max_epochs=2", "trainer.limit_train_batches=2", "trainer.limit_test_batches=1")


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run that was fine-tuned from the file w.pth in it."""
    folder = tmp_path_factory.mktemp("fine_tuned")
    words = (f"model.weights={write_weights(folder / 'w.pth')}", "model.freeze=backbone",
             "model.unfreeze_at_epoch=2", "model.backbone_lr_factor=0.1",
             "scheduler=onecycle")  # fmt: skip
    with pytest.MonkeyPatch.context() as monkeypatch:
        done = run_in_process(
            "train.py", (*FINE_TUNED, *SMALL, *words, *with_store(folder)), monkeypatch, None
        )
    assert done.code == 0
    return folder


def test_the_run_records_the_digest_and_both_learning_rates(fine_tuned: Path) -> None:
    (run,) = runs_in(fine_tuned)
    digest = hashlib.sha256((fine_tuned / "w.pth").read_bytes()).hexdigest()
    assert run.data.tags[WEIGHTS] == digest
    assert run.data.params["model.backbone_lr_factor"] == "0.1"
    assert "model.weights_root" not in run.data.params
    assert run.data.metrics["lr_backbone"] == pytest.approx(0.1 * run.data.metrics["lr"])


def test_the_file_is_needed_to_reproduce_and_for_nothing_else(
    fine_tuned: Path, cli: Cli, tmp_path: Path
) -> None:
    (run,) = runs_in(fine_tuned)
    words, file = (f"run={run.info.run_id}", *in_folder(fine_tuned)), fine_tuned / "w.pth"
    kept = shutil.move(file, tmp_path / "kept.pth")
    evaluated = cli("evaluate.py", words[0], words[1])
    assert evaluated.code == 0, evaluated.err
    missing = cli("reproduce.py", *words)
    assert missing.code == 2
    assert f"model.weights={file}: there is no such file" in missing.err
    write_weights(file, seed=1)
    other = cli("reproduce.py", *words)
    assert other.code == 2, other.out
    assert "its pretrained weights had the SHA-256 " in other.err
    assert other.err.count("\n") == 1
    shutil.copy(kept, file)
    same = cli("reproduce.py", *words)
    assert same.code == 0, same.out + same.err
    assert len(runs_in(fine_tuned)) == 2


WRONG = [
    (["model=torchvision", "model.name=resnet81"], "model.name=resnet81", "'resnet18'"),
    (["model=timm", "model.name=tf_efficientnet_lite00"], "model.name", "'tf_efficientnet_lite0'"),
    (["model=torchvision", "model.weights=x.pth"], "model.weights=x.pth", "no such file"),
    (["model=torchvision", "model.name=vit_b_16"], "model=", "Wrong image height"),
    (["model=timm", "model.unfreeze_at_epoch=2"], "model.unfreeze_at_epoch", "nothing is frozen"),
    (["model=timm", "model.freeze=backbone", "model.unfreeze_at_epoch=2", "trainer=ddp"],
     "model.unfreeze_at_epoch=2", "needs trainer.devices=1"),
    (["model=torchvision", "data.batch_size=1"], "model=", "cannot be trained in batches of 1"),
    (["model=torchvision", "data.batch_size=68"], "data.batch_size=68",
     "leaves a device one image of 1293 for the last batch"),
    (["model=keras_cnn", "model.freeze=backbone"], "model.freeze", "no such setting"),
    (["model=torchvision", "model.weights_root=/proc/x", "model.weights=DEFAULT"],
     "model.weights_root=/proc/x", "cannot be written"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "key", "said"), WRONG, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_line(
    cli: Cli, tmp_path: Path, words: list[str], key: str, said: str
) -> None:
    result = cli("train.py", "data=digits", "trainer=cpu", *words, *in_folder(tmp_path))
    assert result.code == 2, result.out + result.err
    assert result.err.startswith(f"error: {key}")
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_missing_extra_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    result = cli("train.py", "data=digits", "model=timm", *in_folder(tmp_path))
    assert result.code == 2
    assert result.err.endswith("needs the package timm, which is an extra: pip install '.[timm]'\n")


def test_weights_of_another_network_leave_no_run(cli: Cli, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.pth", name="resnet18", library="torchvision")
    words = (*FINE_TUNED, *SMALL, f"model.weights={path}", *with_store(tmp_path))
    result = cli("train.py", *words)
    assert result.code == 2
    assert f"is not of the network {NETWORK}: " in result.err
    assert runs_in(tmp_path) == []


def test_the_weights_of_a_run_can_start_another(fine_tuned: Path, cli: Cli, tmp_path: Path) -> None:
    """A checkpoint is a file of weights like any other."""
    (run, *_) = runs_in(fine_tuned)
    (file,) = fine_tuned.glob(f"mlruns/**/{run.info.run_id}/**/last.ckpt")
    words = (*FINE_TUNED, "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    result = cli("train.py", *words, f"model.weights={file}", *with_store(tmp_path))
    assert result.code == 0, result.err


def test_a_run_that_resumes_refuses_other_weights(
    fine_tuned: Path, cli: Cli, tmp_path: Path
) -> None:
    (run, *_) = runs_in(fine_tuned)
    changes = ("resume_changes=true", "model=timm", "trainer.max_epochs=3", "model.weights=none")
    result = cli("train.py", f"resume={run.info.run_id}", *changes, *in_folder(fine_tuned))
    assert result.code == 2
    assert "model.weights: can't be changed" in result.err


def test_a_run_that_resumes_takes_another_freezing(
    fine_tuned: Path, cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(fine_tuned, folder)
    (checkpoint,) = list(folder.glob("mlruns/**/last.ckpt"))[:1]
    changes = (
        "resume_changes=true", "model=timm", "trainer.max_epochs=4", "model.unfreeze_at_epoch=4",
        "model.backbone_lr_factor=1.0",
    )  # fmt: skip
    (folder / "new").mkdir()
    result = cli("train.py", f"resume={checkpoint}", *changes, *with_store(folder / "new"))
    assert result.code == 0, result.out + result.err
    assert "changed: model.backbone_lr_factor: 0.1 -> 1.0" in result.out
    (run,) = runs_in(folder / "new")
    assert "lr_backbone" not in run.data.metrics or run.data.metrics["lr"]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["model=torchvision", "model=timm"])
def test_the_exported_model_gives_what_the_run_gives(cli: Cli, tmp_path: Path, words: str) -> None:
    import mlflow

    path = write_weights(tmp_path / "w.pth", name="resnet18", library=words[6:])
    settings = (words, "model.name=resnet18", f"model.weights={path}", "data=digits",
                "trainer=cpu", "trainer.precision=32-true", *SMALL)  # fmt: skip
    result = cli("train.py", *settings, *with_store(tmp_path))
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    exported = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
    logits = exported(torch.randint(0, 255, (3, 8, 8, 1), dtype=torch.uint8))
    assert logits.shape == (3, 10)
