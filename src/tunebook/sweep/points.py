"""From the words of a command line to a sweep, and to the configs of its trials, names checked."""

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from tunebook.checks import MODES, SettingError
from tunebook.commandline.names import compose_config
from tunebook.sweep.request import Request, make_request
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
    for override in varying:
        if override.get_key_element().startswith(("sweep", "hydra", "outputs", "tracking", "resume")):
            raise SettingError(
                override.get_key_element(), (override.input_line or "").partition("=")[2], "holds for the whole sweep, and can't vary in it"
            )
    base = compose_config(CONFIG, fixed)
    if base.resume is not None:
        raise SettingError("resume", base.resume, "goes on with one run, without -m; the same -m command goes on with its sweep")
    choices = {key: str(value) for key, value in base.hydra.runtime.choices.items()}
    given = {override.partition("=")[0]: override.partition("=")[2] for override in fixed}
    settings = OmegaConf.to_container(base.sweep, resolve=True)
    assert isinstance(settings, dict)
    space = make_space(varying, settings["space"] or {}, given, choices)
    own = {str(key): value for key, value in settings.items()}
    mode = MODES.get(base.objective)
    if mode is None:
        raise SettingError("objective", base.objective, f"must be one of {', '.join(MODES)}: what is compared is validation")
    return make_request(own, space, fixed, base.objective, mode), base


def to_check(request: Request) -> Iterator[tuple[DictConfig, list[str]]]:
    """The config of each point of a grid; of a search those that hold each value and each end of a range."""
    for point in request.space.points() if request.is_grid else request.space.corners(MOST_CORNERS):
        words = request.space.overrides(point)
        cfg = compose_config(CONFIG, [*request.fixed, *words])
        yield cfg, words
