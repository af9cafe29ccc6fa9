"""Read the config files of Tunebook and of the user's project for Hydra, and no others.

Hydra's own settings choose log files, the environment and the classes that it creates. They come
from the primary config and the command line only: a group's file must not set any of them.
Importing this module makes Hydra read every config file through `FileConfigSource`, and look for
it in the project first.
"""

import copy
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunebook.config.paths import CONF, CONFS, PROJECT
from tunebook.config.validation import format_value, one_line
from tunebook.untrusted import require_plain_yaml

HYDRA = re.compile(r"(?<!\w)hydra(?!\w)")  # in a key, a group, a path or a package
PACKAGE = re.compile(r"(?m)^\s*#\s*@.*$")  # a header line, such as `# @package _global_`

WHOLE = ("experiment/", "debug/")  # groups whose files change the whole config
GLOBAL = "# @package _global_"


class ConfigError(ValueError):
    """Report, in one line for the user, a config that can't be composed."""


def read_yaml(text: str, where: str) -> Any:
    """Return the plain values in a YAML text, with interpolations left as text.

    Raises ConfigError if it is not YAML, holds anything but plain values, or would grow too large
    while it is read.
    """
    try:
        return OmegaConf.to_container(OmegaConf.create(require_plain_yaml(text)), resolve=False)
    except (
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
        TypeError,
        AssertionError,
        RecursionError,
    ) as error:
        raise ConfigError(f"{where}: {one_line(str(error))}") from None


class FileConfigSource(file_config_source.FileConfigSource):
    """Read conf/ in place of Hydra's class of the same name, which reads any file.

    The name is the same because Hydra identifies these classes by name.
    """

    # A cache, because a command composes the same files several times.
    _parsed: ClassVar[dict[tuple[str, str], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a config file's verified content.

        Raises ConfigError if the file must not be read, or sets what it must not set.
        """
        name = self._normalize_file_name(config_path)
        file = regular_file(Path(self.path), name)
        where = place(file)
        if "/" not in name and not file.is_relative_to(CONF.resolve()):
            raise ConfigError(
                f"{where}: a project has no primary config: an experiment sets its defaults, in "
                f"{place(file.parent / 'experiment')}/"
            )
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: can't be read: {format_value(error)}") from None
        if (name, text) not in self._parsed:
            verify(config_path.removesuffix(".yaml"), text, where)
            try:
                self._parsed[name, text] = super().load_config(config_path)
            except ValueError as error:  # a header line that Hydra does not understand
                raise ConfigError(f"{where}: {format_value(error)}") from None
        return copy.deepcopy(self._parsed[name, text])


def regular_file(folder: Path, name: str) -> Path:
    """Return the path of the file `name` in a folder of config files.

    Raises ConfigError if it is outside that folder, or is not a regular file.
    """
    conf = folder.resolve()
    file = (conf / name).resolve()
    is_named_inside = conf in [each.resolve() for each in CONFS] and not {"", ".", ".."} & set(
        name.split("/")
    )
    if not is_named_inside or not file.is_relative_to(conf):
        raise ConfigError(
            f"{format_value(name.removesuffix('.yaml'))}: is outside conf/; "
            "one conf/ folder holds all configs"
        )
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{place(file)}: can't be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{place(file)}: is not a file")
    return file


def place(file: Path) -> str:
    """Return a config file's path as messages name it, such as `conf/model/mlp.yaml`."""
    if PROJECT is None or file.is_relative_to(CONF.resolve()):
        return (Path("conf") / file.relative_to(CONF.resolve())).as_posix()
    return file.relative_to(PROJECT.folder.resolve()).as_posix()


def verify(config_path: str, text: str, where: str) -> None:
    """Raise ConfigError if a file holds more than plain values.

    Also raise it if a group's file changes Hydra's settings or chooses its options. where: the
    file's path, for the error.
    """
    content = read_yaml(text, where)
    if "/" not in config_path:
        return  # a primary config
    is_whole = config_path.startswith(WHOLE)
    if not isinstance(content, dict) or (is_whole and not content):
        raise ConfigError(f"{where}: must hold settings, such as `seed: 1`")
    for word in (
        config_path,
        *PACKAGE.findall(text),
        *map(str, content),
        *_words(content.get("defaults")),
    ):
        if HYDRA.search(word):
            raise ConfigError(
                f"{where}: sets hydra ({format_value(word)}), "
                "which only the primary config in conf/ may do"
            )
    # Hydra overlooks the line where any other comment precedes it.
    first = text.lstrip().partition("\n")[0].rstrip()
    if is_whole and set(content) != {"defaults"} and first != GLOBAL:
        raise ConfigError(
            f"{where}: must begin with the line `{GLOBAL}`, "
            "since it changes settings of other groups"
        )


def _words(defaults: Any) -> Iterator[str]:
    """Yield every key and value in a defaults list."""
    if isinstance(defaults, dict):
        for key, value in defaults.items():
            yield str(key)
            yield from _words(value)
    elif isinstance(defaults, list):
        for entry in defaults:
            yield from _words(entry)
    elif defaults is not None:
        yield str(defaults)


class ProjectSearchPath(SearchPathPlugin):
    """Let Hydra look for a config file in the project's folder, and then in Tunebook's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the project's folder before the primary config's."""
        if PROJECT is not None:
            search_path.prepend("project", f"file://{PROJECT.conf}", anchor="main")


Plugins.instance().register(ProjectSearchPath)  # which registers Hydra's own sources as well
SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource
