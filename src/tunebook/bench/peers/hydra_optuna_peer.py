"""Tune the digits with Hydra's Optuna sweeper, in the way of ashleve/lightning-hydra-template.

Arguments: those of Hydra. The interpreter needs hydra-optuna-sweeper, pytorch-lightning and mlflow,
but not Tunebook.
"""

import hydra
import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=".", config_name="hydra_optuna")
def main(cfg: DictConfig) -> float:
    """Train one trial, and return the metric that Optuna maximizes."""
    pl.seed_everything(cfg.seed, workers=True)
    data, model = instantiate(cfg.data), instantiate(cfg.model)
    loggers = [instantiate(one) for one in cfg.logger.values()]
    callbacks = [instantiate(one) for one in cfg.callbacks.values()]
    trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
    recorded = {name: cfg[name] for name in ("data", "model", "callbacks", "trainer", "seed")}
    recorded["model/params/total"] = sum(one.numel() for one in model.parameters())
    for logger in loggers:
        logger.log_hyperparams(recorded)
    trainer.fit(model, datamodule=data)
    return float(trainer.callback_metrics[cfg.optimized_metric])


if __name__ == "__main__":
    main()
