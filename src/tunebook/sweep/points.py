"""From the words of a command line to a sweep, and to the configs of its trials, names checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tunebook.checks import MODES, SettingError, conform
from tunebook.commandline.names import compose_config
from tunebook.sweep.final import settings_of_winner
from tunebook.sweep.request import Request, Trials, make_request
from tunebook.sweep.space import make_space, split

CONFIG = "config"
MOST_CORNERS = 64  # points of a search that are checked


def sweep(overrides: Sequence[str]) -> int:
    """Does what `train.py -m <overrides>` asks for. The exit status. SettingError, ConfigError, InputError before anything is made."""
    request, base = read(overrides)
    configs = list(to_check(request))

    from tunebook.sweep.driver import drive  # imports torch: names were answered before

    return drive(request, base, configs)


def read(overrides: Sequence[str]) -> tuple[Request, DictConfig]:
    """The sweep that is asked for, and the config that its trials start from."""
    fixed, varying = split(overrides)
    fixed, varying, parent = _with_winner(fixed, varying)
    for override in varying:
        if override.get_key_element().startswith(("sweep", "hydra", "outputs", "tracking", "resume")):
            raise SettingError(
                override.get_key_element(), (override.input_line or "").partition("=")[2], "holds for the whole sweep, and can't vary in it"
            )
    if own_folder := [word for word in fixed if word.lstrip("+").startswith("hydra.run.")]:
        key, _, value = own_folder[0].partition("=")
        raise SettingError(key, value, "each trial has a folder of its own, below outputs")
    base = compose_config(CONFIG, fixed)
    if base.resume is not None:
        raise SettingError("resume", base.resume, "goes on with one run, without -m; the same -m command goes on with its sweep")
    choices = {key: str(value) for key, value in base.hydra.runtime.choices.items()}
    given = {override.partition("=")[0]: override.partition("=")[2] for override in fixed}
    settings = OmegaConf.to_container(base.sweep, resolve=True)
    assert isinstance(settings, dict)
    space = make_space(varying, settings["space"] or {}, given, choices)
    own = {str(key): value for key, value in settings.items()}
    kind = f"final of {own['of']}" if "of" in own else choices["sweep"]
    mode = MODES.get(base.objective)
    if mode is None:
        raise SettingError("objective", base.objective, f"must be one of {', '.join(MODES)}: what is compared is validation")
    return make_request(kind, parent, own, space, fixed, base.objective, mode), base


def _with_winner(fixed: list[str], varying: list[Override]) -> tuple[list[str], list[Override], str]:
    """What `sweep=final` stands for: another sweep's winner with several seeds; and the key of that sweep's own run."""
    base = compose_config(CONFIG, fixed)
    if "of" not in base.sweep:
        return fixed, varying, ""
    if base.sweep.of is None:
        raise SettingError("sweep.of", None, "is required: the name of a sweep, as its first line says it")
    seeds = conform("sweep.seeds", base.sweep.seeds, Trials)
    words, parent = settings_of_winner(str(base.sweep.of), base.sweep.storage, Path(str(base.outputs)))
    if any(override.get_key_element() != "seed" for override in varying):
        raise SettingError("sweep", "final", "trains one configuration: nothing but seed may vary")
    _, seeded = split([f"seed=range(1,{seeds + 1})"])
    return [*words, *fixed], varying or seeded, parent


def to_check(request: Request) -> Iterator[tuple[DictConfig, list[str]]]:
    """The config of each point of a grid; of a search those that hold each value and each end of a range.

    Points that differ in numbers only are composed once: that takes Hydra a tenth of a second.
    """
    composed: dict[tuple[str, ...], DictConfig] = {}
    for point in request.space.points() if request.is_grid else request.space.corners(MOST_CORNERS):
        words = request.space.overrides(point)
        numbers = {d.key: point[d.name] for d in request.space.dimensions if isinstance(point.get(d.name), int | float)}
        alike = tuple(word if (key := word.partition("=")[0]) not in numbers else key for word in words)
        if alike not in composed:
            composed[alike] = compose_config(CONFIG, [*request.fixed, *words])
        cfg = composed[alike].copy()
        for key, value in numbers.items():
            OmegaConf.update(cfg, key, value)
        yield cfg, words
