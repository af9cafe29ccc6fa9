"""A bad config is reported in one line with exit status 2, before anything is written."""

from pathlib import Path

import pytest

from tests.conftest import Cli, in_folder

# (overrides, the key that the error names, another text that it contains)
WRONG_NAMES = [
    (["optimizer=adadleta"], "optimizer=adadleta", "Did you mean 'adadelta'?"),
    (["model=keras_cn"], "model=keras_cn", "'keras_cnn'"),
    (["data=mnits"], "data=mnits", "'mnist'"),
    (["scheduler=cosin"], "scheduler=cosin", "'cosine'"),
    (["experiment=keras_notebok"], "experiment=keras_notebok", "'keras_notebook'"),
    (["debug=quik"], "debug=quik", "'quick'"),
    (["data=_common"], "data=_common", "allowed: cifar10, cifar100, digits"),
    (["optimiser=adam"], "optimiser=adam", "'optimizer'"),
    (["model.filtres=32"], "model.filtres=32", "'model.filters'"),
    (["filters=32"], "filters=32", "'model.filters'"),
    (["sed=3"], "sed=3", "'seed'"),
    (["trainer.epochs=3"], "trainer.epochs=3", "no such setting"),
    (["optimizer=adam", "optimizer.rho=0.9"], "optimizer.rho=0.9", "no such setting"),
    (["model=mlp", "model.filters=8"], "model.filters=8", "no such setting"),
    (["+model.filtres=32"], "+model.filtres=32", "'model.filters'"),
    (["+model.filters=32"], "+model.filters=32", "without +"),
    (["++model.filtres=32"], "++model.filtres=32", "'model.filters'"),
    (["+experiment=keras_notebook"], "+experiment=keras_notebook", "Did you mean 'experiment'?"),
    (["+new=1"], "+new=1", "no such setting"),
    (
        ["+trainer.max_times=1"],
        "+trainer.max_times=1",
        "no such setting. Did you mean 'trainer.max_time'?",
    ),
    (
        ["++trainer.max_times=1"],
        "++trainer.max_times=1",
        "no such setting. Did you mean 'trainer.max_time'?",
    ),
    (["+filters=8"], "+filters=8", "'model.filters'"),
    (["model=mlp", "+model.hidden_layers=3"], "+model.hidden_layers=3", "without +"),
    (["model=mlp", "++model.filters=3"], "++model.filters=3", "no such setting"),
    (["~model.filters"], "model.filters", "is required"),
    (["~model"], "model", "is required"),
    (["optimizer=null"], "optimizer", "is required; allowed: adadelta"),
    (["data=null"], "data", "is required"),
    (["tracking=null"], "tracking", "allowed: mlflow, mlflow_tensorboard, mlflow_wandb, off"),
    (["optimizer=adam,sgd"], "optimizer=adam,sgd", "for a sweep, add -m"),
    (["model.filters=choice(8,16)"], "model.filters=choice(8,16)", "for a sweep, add -m"),
    (["--seed=1"], "unrecognized arguments: --seed=1", "write seed=1"),
    (["trainer.ephocs=1"], "trainer.ephocs=1", "no such setting of trainer="),
    (["model.filters"], "model.filters", ""),
    (["=3"], "=3", ""),
    (["model.filters=[1"], "model.filters=[1", "close every quote and bracket"),
    (["experiment_name='a"], "experiment_name='a", "in quotes"),
    (["seed=${"], "seed=${", "in quotes"),
    (["a b=3"], "a b=3", "can't be the name of a setting"),
    (["model//etc=3"], "model//etc", "can't be the name of a setting"),
    (["sweep=tpe"], "sweep=tpe", "add -m"),
    (["sweep.trials=9"], "sweep.trials=9", "add -m"),
    (["hydra.mode=MULTIRUN"], "hydra.mode=MULTIRUN", "-m"),
    (["++hydra.sweeper.params={seed:'1,-1'}"], "hydra.sweeper.params", ""),
    (["--config-name=other"], "--config-name", "not supported"),
    (["--config-dir=/tmp"], "--config-dir", "not supported"),
]
WRONG_VALUES = [
    (["model.filters=abc"], "model.filters=abc", "integer"),
    (["model.filters=2.5"], "model.filters=2.5", "integer"),
    (["model.filters=true"], "model.filters=true", "integer"),
    (["model.filters=[1,2]"], "model.filters=[1, 2]", "integer"),
    (["model.filters={a:1}"], "model.filters.a", "no such setting"),
    (["model.filters='32'"], "model.filters=32", "integer"),
    (["model.filters=0"], "model.filters=0", "greater than or equal to 1"),
    (["model.filters=-3"], "model.filters=-3", "greater than or equal to 1"),
    (["model.filters=null"], "model.filters=null", "integer"),
    (["model.filters=nan"], "model.filters=nan", "finite"),
    (["model.kernel_size=0"], "model.kernel_size=0", "greater than or equal to 1"),
    (["model.kernel_size=15"], "model.kernel_size=15", "at most 14"),
    (["model.kernel_size=14", "model.pool_size=3"], "model.pool_size=3", "at most 2"),
    (["data=digits", "model.kernel_size=5"], "model.kernel_size=5", "at most 4"),
    (["model.pool_size=25"], "model.pool_size=25", "at most 24"),
    (["model=batchnorm_cnn", "model.stages=9"], "model.stages=9", "leaves nothing"),
    (["model=batchnorm_cnn", "model.kernel_size=4"], "model.kernel_size=4", "odd"),
    (["model=lenet", "model.kernel_size=10"], "model.kernel_size=10", "at most 9"),
    (["model=lenet", "model.pool_size=13"], "model.kernel_size=5", "1 x 1 is left"),
    (["model.conv_dropout=-0.1"], "model.conv_dropout=-0.1", "greater than or equal to 0"),
    (["model.conv_dropout=1"], "model.conv_dropout=1", "less than 1"),
    (["model.conv_dropout=1.5"], "model.conv_dropout=1.5", "less than 1"),
    (["model.dense_dropout=nan"], "model.dense_dropout=nan", "finite"),
    (["model.dense_units=0"], "model.dense_units=0", "greater than or equal to 1"),
    (["optimizer.lr=0"], "optimizer.lr=0", "greater than 0"),
    (["optimizer.lr=-1"], "optimizer.lr=-1", "greater than 0"),
    (["optimizer.lr=nan"], "optimizer.lr=nan", "finite"),
    (["optimizer.lr=inf"], "optimizer.lr=inf", "finite"),
    (["optimizer.lr=fast"], "optimizer.lr=fast", "number"),
    (["optimizer.lr=null"], "optimizer.lr=null", "number"),
    (["optimizer.rho=1.5"], "optimizer.rho=1.5", "rho"),
    (["optimizer.eps=tiny"], "optimizer.eps=tiny", "number"),
    (["optimizer=adam", "optimizer.betas=[0.9,1.5]"], "optimizer.betas=[0.9, 1.5]", "beta"),
    (["optimizer=adam", "optimizer.betas=[0.9]"], "optimizer.betas=[0.9]", ""),
    (["optimizer=adam", "optimizer.amsgrad=maybe"], "optimizer.amsgrad=maybe", "boolean"),
    (["optimizer=sgd", "optimizer.momentum=-1"], "optimizer.momentum=-1", "momentum"),
    (["optimizer=sgd", "optimizer.momentum=0"], "optimizer", "esterov"),
    (["data.batch_size=0"], "data.batch_size=0", "greater than or equal to 1"),
    (["data.batch_size=1000001"], "data.batch_size=1000001", "less than or equal to 1000000"),
    (["data.val_fraction=0"], "data.val_fraction=0", "greater than 0"),
    (["data.val_fraction=1"], "data.val_fraction=1", "less than 1"),
    (["data.val_fraction=0.00001"], "data.val_fraction=1e-05", "at least 10"),
    (["data.eval_batch_size=1e18"], "data.eval_batch_size=1e+18", "less than or equal to 1000000"),
    (["data.num_workers=-1"], "data.num_workers=-1", "greater than or equal to 0"),
    (["data.split_seed=-1"], "data.split_seed=-1", "greater than or equal to 0"),
    (["data.root=null"], "data.root", "is required"),
    (["data.validate_on=test"], "data.validate_on=test", "keras_notebook"),
    (["data.validate_on=tset"], "data.validate_on=tset", "'test'"),
    (["data.source.dataset=CIFAR10"], "data.source.dataset=CIFAR10", "'MNIST'"),
    (["seed=-1"], "seed=-1", "greater than or equal to 0"),
    (["seed=4294967296"], "seed=4294967296", "less than or equal to 4294967295"),
    (["seed=null"], "seed=null", "integer"),
    (["seed=1.5"], "seed=1.5", "integer"),
    (["objective=val/accuracy"], "objective=val/accuracy", "'val/acc'"),
    (["objective=test/acc"], "objective=test/acc", "'val/acc'"),
    (["objective=null"], "objective=null", "'val/acc'"),
    (["objective=val/macro_f1"], "objective=val/macro_f1", "choose an option of `metrics`"),
    (["metrics=balanced", "objective=val/macro_f"], "objective=val/macro_f", "'val/macro_f1'"),
    (["metrics=ballanced"], "metrics=ballanced", "'balanced'"),
    (
        ["metrics=balanced", "metrics.macro_f1.average=makro"],
        "metrics.macro_f1.average=makro",
        "'macro'",
    ),
    (
        ["metrics=balanced", "metrics.macro_f1.average=none"],
        "metrics.macro_f1=MulticlassF1Score",
        "one finite number",
    ),
    (["metrics=top_k", "metrics.top_5_acc.top_k=11"], "metrics.top_5_acc.top_k=11", "10"),
    (["loss=cross_entrop"], "loss=cross_entrop", "'cross_entropy'"),
    (["loss.label_smoothing=1.1"], "loss.label_smoothing=1.1", "less than or equal to 1"),
    (["loss.label_smooth=0.1"], "loss.label_smooth=0.1", "'loss.label_smoothing'"),
    (["loss._target_=torch.optim.Adam"], "loss._target_=torch.optim.Adam", "tunebook.losses"),
    (["tested_weights=first"], "tested_weights=first", "'last'"),
    (["experiment_name="], "experiment_name", "at least 1 character"),
    (["trainer.max_epochs=2.5"], "trainer.max_epochs=2.5", "integer"),
    (["trainer.max_epochs=0"], "trainer.max_epochs=0", "greater than or equal to 1"),
    (["trainer.max_epochs=null"], "trainer.max_epochs=null", "integer"),
    (["trainer.precision=fp32"], "trainer.precision=fp32", "'32-true'"),
    (["trainer=cpu", "trainer.precision=16-mixed"], "trainer.precision=16-mixed", "GPU"),
    (["trainer.devices=0"], "trainer.devices=0", "greater than or equal to 1"),
    (["trainer.devices=all"], "trainer.devices=all", "auto"),
    (["trainer.limit_train_batches=1.5"], "trainer.limit_train_batches=1.5", "fraction"),
    (
        ["trainer.gradient_clip_val=-1"],
        "trainer.gradient_clip_val=-1",
        "greater than or equal to 0",
    ),
    (["trainer.deterministic=perhaps"], "trainer.deterministic=perhaps", "boolean"),
    (["scheduler=step", "scheduler.step_size=0"], "scheduler", "fails at epoch 0"),
    (
        ["scheduler=step", "scheduler.gamma=-1", "trainer.max_epochs=9"],
        "scheduler",
        "sets the learning rate to -",
    ),
    (
        ["scheduler=cosine", "scheduler.warmup_fraction=2"],
        "scheduler.warmup_fraction=2",
        "less than or equal to 1",
    ),
    (
        ["scheduler=onecycle", "scheduler.anneal_strategy=sine"],
        "scheduler.anneal_strategy=sine",
        "'linear'",
    ),
    (
        ["scheduler=onecycle", "scheduler.cycle_momentum=true"],
        "scheduler.cycle_momentum=true",
        "momentum",
    ),
    (["scheduler=plateau", "scheduler.factor=1.5"], "scheduler.factor=1.5", "actor"),
    (["scheduler.interval=batch"], "scheduler.interval=batch", "'step'"),
    (["augmentation=affine", "augmentation.scale_min=2"], "augmentation.scale_min=2", "scale_max"),
    (["augmentation=affine", "augmentation.rotation=200"], "augmentation.rotation=200", "180"),
    (
        ["augmentation=affine", "augmentation.shift=-0.1"],
        "augmentation.shift=-0.1",
        "greater than or equal to 0",
    ),
    (
        ["callbacks=early_stopping", "callbacks.early_stopping.patience=soon"],
        "callbacks.early_stopping.patience=soon",
        "integer",
    ),
    (["experiment=keras_notebook", "tested_weights=best"], "data.validate_on=test", "test metrics"),
    (["experiment=keras_notebook", "scheduler=plateau"], "data.validate_on=test", "test metrics"),
    (
        ["experiment=keras_notebook", "callbacks=early_stopping"],
        "data.validate_on=test",
        "test metrics",
    ),
    (["tracking.system_metrics=1"], "tracking.system_metrics=1", "boolean"),
    (["trainer.limit_train_batches=0.001"], "trainer.limit_train_batches=0.001", "none of the"),
    (
        ["tracking.uri=sqlite:////proc/there/mlflow.db"],
        "tracking.uri=sqlite:////proc/there/mlflow.db",
        "cannot be written",
    ),
    (["data.root=/proc/there"], "cannot write to /proc/there/MNIST/raw", "set data.root"),
    (["outputs=/proc/there"], "/proc/there", "cannot be written"),
    (["tracking.uri=/tmp/x"], "tracking.uri=/tmp/x", "address"),
    (["experiment_name='  '"], "experiment_name", "blank"),
    (["experiment_name='\t'"], "experiment_name", "control"),
    (["experiment_name='a\x1b[31mb'"], "experiment_name=a\\x1b[31mb", "control"),
    (["experiment_name='a\x00b'"], "experiment_name", "control"),
    ([f"experiment_name={'x' * 251}"], "experiment_name=xxx", "at most 250"),
    (["outputs='a\x00b'"], "outputs", "control"),
    (["data.root='  '"], "data.root", "blank"),
    (["tracking.uri=databricks"], "tracking.uri=databricks", "such as sqlite"),
    (["tracking.uri=http://h/%00"], "tracking.uri=http://h/%00", "such as sqlite"),
    (["tracking.uri=http:///x"], "tracking.uri=http:///x", "no host"),
    (["tracking.uri=http://127.0.0.1:99999"], "tracking.uri=http://127.0.0.1:99999", "ort"),
    (["tracking.uri=http://127.0.0.1:0"], "tracking.uri=http://127.0.0.1:0", "port"),
    (["tracking.uri=http://127.0.0.1:x"], "tracking.uri=http://127.0.0.1:x", "ort"),
    (
        ["'tracking.uri=\"http://[::1\"'".strip("'")],
        "tracking.uri=http://[::1",
        "a server's address",
    ),
    (["tracking.uri='http://a b/'"], "tracking.uri=http://a b/", "no host"),
    (["tracking.uri='http://:5000'"], "tracking.uri=http://:5000", "no host"),
    (["tracking.uri='http://me:se/cret@host:5000'"], "tracking.uri=http://***@host:5000", "%2F"),
    (["tracking.uri=sqlite+evil:///x"], "tracking.uri=sqlite+evil:///x", "allowed before"),
    (
        ["tracking.uri=sqlite+pysqlite:///x.db"],
        "tracking.uri=sqlite+pysqlite:///x.db",
        "allowed before",
    ),
    (["tracking.uri='sqlite:///:memory:'"], "tracking.uri=sqlite:///:memory:", "a file"),
    (
        ["tracking.uri='sqlite:////tmp/x.db?mode=ro'"],
        "tracking.uri=sqlite:////tmp/x.db?mode=ro",
        "a file",
    ),
    (["tracking.uri=sqlite://x.db"], "tracking.uri=sqlite://x.db", "a file"),
    (["tracking.uri=sqlite:///"], "tracking.uri=sqlite:///", "address"),
    (["tracking.uri=http+unix://x"], "tracking.uri=http+unix://x", "allowed before"),
    (["tracking.uri=ftp://host/x"], "tracking.uri=ftp://host/x", "allowed before"),
    (["tracking.uri=file:///tmp/x"], "tracking.uri=file:///tmp/x", "allowed before"),
    (["tracking.uri=javascript://x"], "tracking.uri=javascript://x", "allowed before"),
    (["tracking.uri=postgresql+evil://h/x"], "tracking.uri=postgresql+evil://h/x", "database"),
    (
        ["tracking.uri='postgresql://me:secret@h:99999/x'"],
        "tracking.uri=postgresql://***@h:99999/x",
        "port 99999",
    ),
    (
        ["tracking.uri='postgresql://me:secret@h:x/x'"],
        "tracking.uri=postgresql://***@h:x/x",
        "database",
    ),
    (["model='${oc.decode:\"{_target_: x}\"}'"], "model=", ""),
    (["model='${oc.create:{_target_: x}}'"], "model=", ""),
    (["optimizer='${oc.env:HOME}'"], "optimizer=", ""),
    (["model._target_='${oc.env:HOME}'"], "model._target_", "dotted name"),
    (["callbacks='${oc.decode:\"{x: 1}\"}'"], "callbacks", ""),
    (["trainer={}"], "trainer", ""),
    ([f"outputs=/tmp/{'a' * 300}"], "outputs=", "File name too long"),
    (["scheduler=onecycle", "scheduler.final_div_factor=0"], "scheduler", "division by zero"),
    (["trainer=[auto,cpu,nothing]"], "trainer", "nothing"),
    (["model.filters='${nothing:x}'"], "nothing", ""),
    (["model.filters='${oc.env:NOT_THERE}'"], "NOT_THERE", ""),
    (["model.filters='${model.filters}'"], "", ""),
    (["model.filters='${seed'"], "", ""),
    (["data.source='${oc.decode:1}'"], "oc.decode", ""),
    (["trainer='${x}'"], "trainer", ""),
    (["hydra.verbose={a:1}"], "hydra.verbose", ""),
    (["hydra.run.dir='a\x00b'"], "hydra.run.dir", "folder"),
    (["hydra.run.dir=[a]"], "hydra.run.dir", "folder"),
]
WRONG_TARGETS = [
    (["model._target_=os.system"], "model._target_=os.system", "never run"),
    (["model._target_=torch.optim.Adam"], "model._target_=torch.optim.Adam", "tunebook.networks"),
    (
        ["model._target_=tunebook.networks.glorot_"],
        "model._target_=tunebook.networks.glorot_",
        "Module",
    ),
    (
        ["model._target_=tunebook.networks.KerasCN"],
        "model._target_=tunebook.networks.KerasCN",
        "'KerasCNN'",
    ),
    (
        ["model._target_=tunebook.networks.nn.Linear"],
        "model._target_=tunebook.networks.nn.Linear",
        "no module",
    ),
    (["model._target_=3"], "model._target_=3", "dotted name"),
    (["model._target_=null"], "model._target_=null", "dotted name"),
    (["optimizer._target_=torch.load"], "optimizer._target_=torch.load", "torch.optim"),
    (
        ["optimizer._target_=torch.optim.lr_scheduler.StepLR"],
        "optimizer._target_=torch.optim.lr_scheduler.StepLR",
        "Optimizer",
    ),
    (
        ["scheduler._target_=builtins.eval"],
        "scheduler._target_=builtins.eval",
        "torch.optim.lr_scheduler",
    ),
    (["data._target_=subprocess.Popen"], "data._target_=subprocess.Popen", "tunebook.data"),
    (
        ["data.source._target_=numpy.load"],
        "data.source._target_=numpy.load",
        "tunebook.data.sources",
    ),
    (
        ["augmentation._target_=builtins.open"],
        "augmentation._target_=builtins.open",
        "tunebook.data.augmentation",
    ),
    (["tracking._target_=builtins.exec"], "tracking._target_=builtins.exec", "tunebook.tracking"),
    (["model.filters={_target_:os.getcwd}"], "model.filters._target_", "no such setting"),
    (["hydra.launcher._target_=os.system"], "hydra.launcher._target_=os.system", "Hydra's own"),
    (["hydra.sweeper._target_=os.system"], "hydra.sweeper._target_=os.system", "Hydra's own"),
    (
        ["hydra.job_logging.handlers.file.class=os.system"],
        "hydra.job_logging.handlers.file.class=os.system",
        "logging.",
    ),
]
CASES = [*WRONG_NAMES, *WRONG_VALUES, *WRONG_TARGETS]


def entries(folder: Path) -> set[Path]:
    return {
        path
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and ".git" not in path.parts
    }


@pytest.mark.parametrize(
    ("overrides", "named", "said"),
    CASES,
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, overrides: list[str], named: str, said: str
) -> None:
    # If the check accepted the overrides by mistake, the run would take only seconds.
    quick = [] if any("debug" in override for override in overrides) else ["debug=quick"]
    result = cli("train.py", *in_folder(tmp_path), *quick, *overrides)
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert named in result.err
    assert said in result.err
    assert not entries(tmp_path)


def test_a_gpu_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU")
    result = cli("train.py", *in_folder(tmp_path), "trainer=gpu")
    assert result.code == 2
    assert result.err == (
        "error: trainer.accelerator=gpu: torch finds no GPU on this machine; allowed: auto, cpu\n"
    )


@pytest.mark.parametrize(
    "override",
    [
        "model.filters=1e1",
        "data.batch_size=1.28e2",
        "seed=0",
        "optimizer.lr=1",
        "model.conv_dropout=0",
    ],
)
def test_values_that_are_right(override: str) -> None:
    from tunebook.config.compose import compose_config
    from tunebook.config.run_config import RunConfig
    from tunebook.runs.check import check

    check(RunConfig.of(compose_config("config", [override])))
