"""Tune the digits with Ray Tune, as its documentation shows it for Lightning and MLflow.

Arguments: a file of arrays (.npz), MLflow's address, a folder for Ray's results, the number of
trials, how many run at once, and whether a process trains several of them: "reuse", or "default",
which starts a process for each. The interpreter needs ray[tune], pytorch-lightning and mlflow, but
not Tunebook.
"""

import os
import sys
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytorch_lightning as pl
import ray
from digits_lightning import Digits, KerasCNN  # type: ignore[import-not-found]
from pytorch_lightning.loggers import MLFlowLogger
from ray import tune
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback


def train(config: dict[str, Any], file: str, store: str) -> None:
    """Train one trial for one epoch, and record it in MLflow."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=MLFlowLogger(experiment_name="digits", tracking_uri=store),
        callbacks=[TuneReportCheckpointCallback({"val_acc": "val/acc"}, on="validation_end")],
        enable_checkpointing=False,  # the callback writes one, to Ray's storage
        enable_progress_bar=False,
    )
    trainer.fit(KerasCNN(**config), datamodule=Digits(file))


def main() -> None:
    """Run the sweep."""
    file, store, folder, trials, workers, actors = sys.argv[1:]
    ray.init(num_cpus=int(workers), include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, file=file, store=store), {"cpu": 1}),
        param_space={
            "lr": tune.loguniform(0.1, 3.0),
            "conv_dropout": tune.uniform(0.0, 0.5),
            "dense_dropout": tune.uniform(0.0, 0.7),
        },
        tune_config=tune.TuneConfig(
            metric="val_acc",
            mode="max",
            num_samples=int(trials),
            max_concurrent_trials=int(workers),
            reuse_actors=actors == "reuse",
        ),
        run_config=tune.RunConfig(storage_path=folder),
    )
    results = tuner.fit()
    print(results.get_best_result().config)


if __name__ == "__main__":
    main()
