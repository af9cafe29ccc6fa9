"""The schemas in conf/.schema/ are up to date, pass every file of conf/, and refuse wrong ones."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from tests.conftest import ROOT, Cli
from tunebook.config.files import ConfigError, read_yaml, verify
from tunebook.config.targets import NAMED, ONE_OR_NAMED, classes_in
from tunebook.config.validation import SettingError, parameters_of, validate_value
from tunebook.networks import MLP, BatchNormCNN, KerasCNN, LeNet
from tunebook.schema import configs, files, write
from tunebook.schema.values import INTERPOLATION, setting, value_schema
from tunebook.sweeps import request
from tunebook.training.trainer import make_trainer

CONF = ROOT / "conf"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in (CONF / ".schema").glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    (name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)
YAMLS = sorted(CONF.rglob("*.yaml"))
HEADER = "# yaml-language-server: $schema="
ADAM = "_target_: torch.optim.Adam\n"
CNN = "_target_: tunebook.networks.KerasCNN\n"


def schema_of(path: Path) -> Path:
    """Return the schema's file of a YAML file, by the file's place."""
    parts = path.relative_to(CONF).with_suffix("").parts
    return CONF / ".schema" / f"{parts[0]}.json"


def errors(schema: str, text: str) -> list[str]:
    """Return what the schema of this name has against a YAML text."""
    return errors_of(schema, read_yaml(text, "a test") or None)


def errors_of(schema: str, content: Any) -> list[str]:
    validator = Draft7Validator({"$ref": f"{schema}.json"}, registry=REGISTRY)
    return [error.message for error in validator.iter_errors(content)]


def test_files_are_what_the_command_writes() -> None:
    assert not write(only_check=True), "run: python src/schema.py"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schema_is_one(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONF)))
def test_file_names_its_schema_and_passes_it(path: Path) -> None:
    text = path.read_text()
    header, package = text.splitlines()[0], "# @package _global_\n"
    if text.startswith(package):  # Hydra wants its line before any other
        header = text.splitlines()[1]
    assert header.startswith(HEADER)
    schema = path.parent / header.removeprefix(HEADER)
    assert schema.resolve() == schema_of(path)
    assert not errors(schema.stem, text)


WRONG = {
    "misspelt key": ("optimizer", ADAM + "weigth_decay: 0.1"),
    "another class's key": ("optimizer", ADAM + "rho: 0.9"),
    "learning rate 0": ("optimizer", ADAM + "lr: 0"),
    "learning rate as text": ("optimizer", ADAM + "lr: fast"),
    "three betas": ("optimizer", ADAM + "betas: [0.9, 0.99, 0.999]"),
    "null for a number": ("optimizer", ADAM + "eps: null"),
    "number for a truth value": ("optimizer", ADAM + "amsgrad: 1"),
    "no class": ("optimizer", "lr: 0.1"),
    "code": ("optimizer", "_target_: os.system\ncommand: ls"),
    "network from elsewhere": ("model", "_target_: torch.nn.Linear"),
    "dropout 1": ("model", CNN + "conv_dropout: 1.0"),
    "no filters": ("model", CNN + "filters: 0"),
    "part of a filter": ("model", CNN + "filters: 1.5"),
    "what the program sets": ("model", CNN + "num_classes: 10"),
    "own misspelt key": ("model", CNN + "filter: 8"),
    "unknown shared file": ("data", "defaults: [_comon, _self_]"),
    "unknown data set": (
        "data",
        "defaults: [_common]\n"
        "source: {_target_: tunebook.data.sources.TorchvisionFiles, dataset: CIFAR}",
    ),
    "validation on nothing": ("data", "defaults: [_common]\nvalidate_on: nothing"),
    "interval": ("scheduler", "_target_: tunebook.schedules.WarmupCosine\ninterval: batch"),
    "negative patience": ("tracking", "_target_: tunebook.tracking.MLflowTracker\npatience_s: -1"),
    "precision": ("trainer", "precision: fp8"),
    "no devices": ("trainer", "devices: 0"),
    "callback that writes": (
        "callbacks",
        "mine: {_target_: pytorch_lightning.callbacks.ModelCheckpoint}",
    ),
    "callback's key": (
        "callbacks",
        "mine: {_target_: pytorch_lightning.callbacks.EarlyStopping, patient: 3}",
    ),
    "defaults in a callback": (
        "callbacks",
        "mine: {_target_: pytorch_lightning.callbacks.EarlyStopping, defaults: [none]}",
    ),
    "too many trials": ("sweep", "trials: 10001"),
    "executor": ("sweep", "executor: cloud"),
    "sampler's key": ("sweep", "sampler: {_target_: optuna.samplers.TPESampler, n_startup: 3}"),
    "resource": ("sweep", "slurm: {more: {gpu: 1}}"),
    "resource's text": ("sweep", "slurm: {more: {partition: gpu; ls}}"),
    "unknown option": ("experiment", "defaults: [override /optimizer: adadleta]"),
    "unknown group": ("experiment", "defaults: [override /optimiser: adam]"),
    "no override": ("experiment", "defaults: [{/optimizer: adam}]"),
    "unknown setting": ("experiment", "sed: 1"),
    "negative seed": ("experiment", "seed: -1"),
    "objective": ("experiment", "objective: test/acc"),
    "key of a group": ("experiment", "model: {filterz: 8}"),
    "key of an option that is not chosen": (
        "experiment",
        "defaults: [override /optimizer: adam]\noptimizer: {rho: 0.9}",
    ),
    "value of a group": ("experiment", "trainer: {max_epochs: 0}"),
    "defaults in a group": ("experiment", "trainer: {defaults: [auto]}"),
    "Hydra's settings": ("debug", "hydra: {verbose: true}"),
    "nothing at all": ("debug", ""),
    "required group": ("config", "defaults: [optimizer: null]"),
    "weights": ("evaluate", "weights: newest"),
    "port": ("ui", "port: 70000"),
    "other script's key": ("ui", "report: true"),
}


@pytest.mark.parametrize(("schema", "text"), WRONG.values(), ids=list(WRONG))
def test_wrong_file_is_refused(schema: str, text: str) -> None:
    assert errors(schema, text)


def misspelt(content: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the content once for each key, with this key misspelt."""
    for key, value in content.items() if isinstance(content, dict) else ():
        rest = {other: value for other, value in content.items() if other != key}
        yield f"{where}{key}", {**rest, f"{key}x": value}
        for path, changed in misspelt(value, f"{where}{key}."):
            yield path, {**content, key: changed}


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONF)))
def test_each_misspelt_key_of_a_file_is_refused(path: Path) -> None:
    schema = schema_of(path).stem
    for key, changed in misspelt(read_yaml(path.read_text(), path.name)):
        # A callback, a metric or a step of an augmentation has any name; what a sweep varies, and
        # Hydra's settings, are free.
        has_a_name = schema in NAMED + ONE_OR_NAMED and isinstance(changed.get(f"{key}x"), dict)
        has_a_name |= f"{schema}.{key}".rpartition(".")[0] in NAMED  # such as a further logger
        if key.startswith(("space.", "hydra.")) or has_a_name:
            continue
        assert errors_of(schema, changed), key


RIGHT = {
    "interpolation for a number": ("optimizer", ADAM + "lr: ${model.lr}"),
    "interpolation in a list": ("optimizer", ADAM + "betas: ['${data.val_fraction}', 0.9]"),
    "interpolation for a choice": ("trainer", "precision: ${p}"),
    "value that has to be given": ("optimizer", ADAM + "lr: ???"),
    "key of the chosen option": (
        "experiment",
        "defaults: [override /optimizer: adam]\noptimizer: {amsgrad: true}",
    ),
    "null": ("optimizer", ADAM + "foreach: null"),
    "whole number as a float": ("model", CNN + "filters: 1e2"),
    "new class of ours": ("model", "_target_: tunebook.networks.Linear\nwidth: 3"),
    "class of a module below": ("optimizer", "_target_: torch.optim.adam.Adam\nlr: 1"),
    "key on top of another file": ("optimizer", "defaults: [adam, _self_]\nlr: 0.1"),
    "no callbacks": ("callbacks", ""),
    "no schedule's own keys": ("scheduler", "_target_: tunebook.schedules.WarmupCosine"),
    "sweep": ("sweep", "defaults: [_common, _self_]\ntrials: null\nsampler: null"),
    "resources": ("sweep", "slurm: {more: {slurm_partition: gpu, mem_gb: 8, gres: null}}"),
    "several augmentations": ("augmentation", "defaults: [flip@mirror, affine@move]"),
    "a step of one's own": ("augmentation", "flip: {_target_: tunebook.data.augmentation.Flip}"),
    "a setting of a step": ("experiment", "augmentation: {flip: {probability: 0.1}}"),
    "only choices": ("experiment", "defaults: [override /model: mlp, override /debug: quick]"),
    "another experiment": ("experiment", "defaults: [keras_notebook, _self_]\nseed: 3"),
    "settings of groups": ("debug", "model: {filters: 8}\ncallbacks: {stop: {patience: 1}}"),
    "other class": ("experiment", "optimizer: {_target_: torch.optim.ASGD, lambd: 1e-3}"),
}


@pytest.mark.parametrize(("schema", "text"), RIGHT.values(), ids=list(RIGHT))
def test_right_file_passes(schema: str, text: str) -> None:
    assert not errors(schema, text)


def test_examples_of_the_docs_pass() -> None:
    examples = re.findall(
        rf"```yaml\n{re.escape(HEADER)}../.schema/(\w+).json\n(.*?)```",
        (ROOT / "docs" / "extending.md").read_text(),
        re.DOTALL,
    )
    # Classes of one's own are not known here; test_extending.py makes the schemas of a project.
    examples = [(schema, text) for schema, text in examples if "my_project" not in text]
    assert len(examples) == 3
    for schema, text in examples:
        assert not errors(schema, text)


OURS = (
    MLP,
    KerasCNN,
    BatchNormCNN,
    LeNet,
    *classes_in("tunebook.data.augmentation", "augmentation").values(),
)
ANNOTATIONS = [
    *(p.annotation for one in (*OURS, make_trainer) for p in parameters_of(one).values()),
    *configs.TYPES.values(),
    *request.TYPES.values(),
]
KNOWN = [kind for kind in ANNOTATIONS if value_schema(kind) is not None]
WORDS = st.sampled_from(["auto", "cpu", "ddp", "32-true", "val/acc", "last", "local", "ray", "x"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(-(2**40), 2**40),
    st.floats(-2, 2),
    st.floats(-1e12, 1e12),
    st.sampled_from([0.0, 1.0, 1e3, 2**32 - 1, 2**32, 525_600]),
    WORDS,
)


@given(kind=st.sampled_from(KNOWN), value=SCALARS | st.lists(SCALARS, max_size=3))
def test_schema_refuses_what_the_program_refuses_and_nothing_else(kind: Any, value: Any) -> None:
    schema = {**setting(value_schema(kind) or {}), "definitions": INTERPOLATION}
    try:
        validate_value("a.key", value, kind)
        accepted = True
    except SettingError:
        accepted = False
    assert Draft7Validator(schema).is_valid(value) == accepted


def test_each_key_of_ours_has_a_description_and_a_type() -> None:
    for name in ("model", "trainer", "sweep", "data", "augmentation", "tracking", "config"):
        schema = SCHEMAS[f"{name}.json"]
        ours = [d for target, d in schema["definitions"].items() if target.startswith("tunebook.")]
        for part in (schema["definitions"].get("settings", {}), *ours):
            for key, value in part.get("properties", {}).items():
                if isinstance(value, dict) and "$ref" not in value and key not in NESTED:
                    assert value["description"], (name, key)
                    assert value["anyOf"], (name, key)


NESTED = ("sampler", "pruner", "ray", "slurm", "space")


def test_command_writes_what_has_changed_and_removes_what_is_left_over(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".schema"
    monkeypatch.setattr(files, "FOLDER", folder)
    result = cli("schema.py", "check=true")
    assert result.code == 1
    count = len(SCHEMAS)
    assert result.out.startswith(f"conf/.schema: {count} files, {count} out of date\n")
    assert not folder.exists()
    assert cli("schema.py").code == 0
    assert {path.name: json.loads(path.read_text()) for path in folder.iterdir()} == SCHEMAS
    (folder / "model.json").write_text("{}")
    (folder / "old.json").write_text("{}")
    result = cli("schema.py")
    assert result.out == f"conf/.schema: {count} files, 2 written\nmodel.json\nold.json\n"
    assert cli("schema.py", "check=true").code == 0


@pytest.mark.parametrize("argument", ["nonsense=1", "check=yes please", "nonsense", "-m"])
def test_wrong_argument_is_told_in_one_line(cli: Cli, argument: str) -> None:
    result = cli("schema.py", argument)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")


def test_folder_that_cannot_be_written_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(files, "FOLDER", tmp_path / "file" / ".schema")
    result = cli("schema.py")
    assert result.code == 2
    assert "cannot be written" in result.err


@pytest.mark.parametrize("flags", [("--help",), ("--cfg", "job")])
def test_no_help_shows_the_editors_line(cli: Cli, flags: tuple[str, ...]) -> None:
    result = cli("train.py", "experiment=keras_notebook", *flags)
    assert result.code == 0
    assert "yaml-language-server" not in result.out


def test_an_editors_line_before_hydras_is_told() -> None:
    lines = ("# yaml-language-server: $schema=x\n", "# @package _global_\n", "seed: 1\n")
    verify("experiment/mine", lines[1] + lines[0] + lines[2], "conf/experiment/mine.yaml")
    with pytest.raises(ConfigError, match="must begin with the line `# @package _global_`"):
        verify("experiment/mine", "".join(lines), "conf/experiment/mine.yaml")
