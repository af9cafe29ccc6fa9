"""Mean and spread over seeds of an experiment's runs: `python src/compare.py experiment_name=keras_notebook metric=test/acc`."""

from typing import TYPE_CHECKING

from tunebook.commandline import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("compare")
def main(cfg: "DictConfig") -> None:
    """Prints a table, and where `paired` names a setting, the difference between its two values."""
    from tunebook.report import seeds
    from tunebook.tracking.store import require_store

    require_store(cfg.tracking.uri)
    rows = seeds.finished_runs(cfg.tracking.uri, str(cfg.experiment_name))
    print(seeds.table(seeds.by_settings(rows, str(cfg.metric)), str(cfg.metric)))
    if cfg.paired is not None:
        paired = seeds.pairs(rows, str(cfg.metric), str(cfg.paired))
        difference = f"{paired.mean:+.4g} +- {paired.half_width:.2g} (95 %, {len(paired.differences)} pairs)"
        print(f"\n{cfg.paired}: {paired.second} minus {paired.first} = {difference}")


if __name__ == "__main__":
    main()
