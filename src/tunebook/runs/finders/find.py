"""Run the finder that the setting `find` names."""

import pytorch_lightning as pl

from tunebook.config.run_config import RunConfig
from tunebook.config.validation import Seed, validate_value
from tunebook.data.remembered import remembering
from tunebook.runs.assemble import build, trainer_for
from tunebook.runs.execute import choose_precision
from tunebook.runs.finders.batch_size import find_batch_size, largest_batch
from tunebook.runs.finders.learning_rate import RisingRate, find_learning_rate
from tunebook.runs.finders.outcome import Outcome
from tunebook.runs.pretrained import load_pretrained
from tunebook.training import VerifiedCheckpoints

CONSTANT = {
    "_target_": "torch.optim.lr_scheduler.ConstantLR",
    "interval": "epoch",
    "factor": 1.0,
    "total_iters": 0,
}


def find(config: RunConfig) -> None:
    """Run the finder that `config` asks for, and log what it suggests.

    A table and a picture are written to the folder of the run. MLflow gets nothing. One device is
    used, on which a step computes what several devices compute together.
    Raises InputError if no value can be suggested.
    """
    # The finders set the learning rate themselves, and take more steps than a schedule may have.
    settings = config.settings | {"scheduler": CONSTANT}
    with remembering():
        chosen = choose_precision(settings, None)
        pl.seed_everything(validate_value("seed", settings["seed"], Seed), verbose=False)
        parts = build(settings | {"trainer": settings["trainer"] | {"precision": chosen.precision}})
        parts.data.prepare_data()
        load_pretrained(parts.task.network)
        config.folder.mkdir(parents=True, exist_ok=True)
        rising = RisingRate()
        finds_lr = settings["find"] == "lr"
        trainer = trainer_for(
            parts,
            config.folder,
            [rising] if finds_lr else [],
            VerifiedCheckpoints(),
            devices=1,
            strategy="auto",
            max_epochs=1_000_000,  # the finders count steps
        )
        trainer.logger = None
        outcome = Outcome(config)
        try:
            if finds_lr:
                find_learning_rate(parts, trainer, rising, outcome)
            else:
                find_batch_size(parts, trainer, outcome, largest_batch(settings))
        except SystemExit as stop:  # into which Lightning turns Ctrl-C
            raise KeyboardInterrupt from stop
