"""Turn the command line of `sweep=ablation` into its request and the config that it starts from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tunebook.config.compose import compose_config, leaves
from tunebook.config.roles import SEED, Role, role_of
from tunebook.config.run_config import without_hydra
from tunebook.config.validation import Seed, SettingError, format_value, validate_value
from tunebook.runs.data_place import own_images
from tunebook.sweeps.ablation import AblationPlan
from tunebook.sweeps.changes import CONFIG, changes_of
from tunebook.sweeps.final import Winner, seeds_of, winner_of
from tunebook.sweeps.request import (
    Request,
    Trials,
    make_request,
    objective_of,
    refuse_what_one_run_has,
)
from tunebook.sweeps.space import make_space

# What the configurations of the path have in common with the sweep whose winner they lead to.
OF_THE_SWEEP = frozenset({Role.RESULT, Role.DATA, Role.SELECTION, Role.PRESET})


def read_ablation(
    base: DictConfig, given: Sequence[str], varying: Sequence[Override]
) -> tuple[Request, DictConfig]:
    """Return the request for an ablation, and the config of the defaults.

    base: the config of the given overrides alone. given, varying: the overrides of the command
    line. Raise SettingError or InputError if the winner can't be explained.
    """
    validate_value("sweep.seeds", base.sweep.seeds, Trials)
    refuse_what_one_run_has(base, given)
    winner = winner_of(base)
    # The ablation selects by the images that the sweep selected by, so its seeds are new.
    given, override = seeds_of(base, given, varying, winner.seeds)
    (seeds,) = make_space([override], {}, {}, {}).dimensions
    numbers = [validate_value(SEED, seed, Seed) for seed in seeds.values or (seeds.text,)]
    words = [*winner.shared, *given]
    start = compose_config(CONFIG, words)
    _refuse_other_settings(winner, start)
    changes = changes_of(winner, words, start)
    objective, mode = objective_of(start)
    direction: Literal["maximize", "minimize"] = "maximize" if mode == "max" else "minimize"
    settings: Any = OmegaConf.to_container(start.sweep, resolve=True)
    request = make_request(
        f"ablation of {winner.name}", (), settings,
        replace(changes.space, dimensions=(*changes.space.dimensions, seeds)),
        words, objective, mode, own_images(OmegaConf.to_container(start.data)),
        AblationPlan(winner.name, winner.folder, changes, numbers, direction),
    )  # fmt: skip
    return request, start


def _refuse_other_settings(winner: Winner, start: DictConfig) -> None:
    """Raise SettingError if this call changes what the sweep's trials had in common."""
    of_sweep = compose_config(CONFIG, winner.shared)
    before, now = (
        {**cfg.hydra.runtime.choices, **dict(leaves(without_hydra(cfg)))}
        for cfg in (of_sweep, start)
    )
    for key in {**before, **now}:
        if role_of(key) in OF_THE_SWEEP and before.get(key) != now.get(key):
            message = (
                f"is not that of the sweep {winner.name}, whose winner is explained; "
                f"allowed: {format_value(before.get(key))}"
            )
            raise SettingError(key, now.get(key), message)
