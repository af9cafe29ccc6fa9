"""Print --help and --cfg job: the settings, with their comments from conf/.

The comment after a key gives its unit or range.
"""

import shutil
import sys
import textwrap

from omegaconf import DictConfig, OmegaConf

from tunebook.config.comments import comments, description, keys_of
from tunebook.config.compose import default_choices, options
from tunebook.program import call, own_call

COMMENT_COLUMN, OPTION_COLUMN = 42, 20
MIN_TEXT = 30  # characters; in a narrower column, every line would hold a word or two


def with_comments(config_name: str, cfg: DictConfig) -> str:
    """Return the composed config as YAML, with the comment of each key after it.

    The settings that belong to no group come first. The text is valid YAML. In a terminal, its
    lines are as wide as the terminal.
    """
    comment_of = comments(config_name, dict(cfg.hydra.runtime.choices))
    groups = default_choices(config_name)
    names = sorted((str(key) for key in cfg if key != "hydra"), key=lambda name: name in groups)
    text = "".join(OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [name])) for name in names)
    lines = text.splitlines()
    for key in keys_of(text):
        if key.path in comment_of:
            start = f"{lines[key.line]:<{COMMENT_COLUMN - 2}}  # "
            lines[key.line] = _wrapped(start, comment_of[key.path], " " * COMMENT_COLUMN + "# ")
    return "\n".join(lines)


def help_text(config_name: str, cfg: DictConfig, script: str, summary: str) -> str:
    """Return the text that --help prints.

    script: the name of the script that runs. summary: a sentence that says what the command does.
    """
    choices = dict(cfg.hydra.runtime.choices)
    groups = []
    for group in default_choices(config_name):
        groups.append(f"\n{group}")
        for option in options(group):
            chosen = "*" if choices.get(group) == option else " "
            start = f"  {chosen} {option:<{OPTION_COLUMN - 5}} "
            groups.append(_wrapped(start, description(group, option), " " * OPTION_COLUMN))
    usage = f"usage: {' '.join(own_call(script))} [group=option ...] [group.key=value ...]"
    sweeps = " [-m: every combination of a,b,c]" if config_name == "config" else ""
    settings = (
        f"Settings of the chosen options ({' '.join(call('train'))} model=mlp --help shows those "
        "of another one):"
        if config_name == "config"
        else "Settings:"
    )
    return "\n".join(
        [
            f"{usage}{sweeps}",
            "       --cfg job: show the config and end    --hydra-help: Hydra's own flags",
            "",
            summary,
            "",
            "Groups and their options (* chosen):",
            *groups,
            "",
            settings,
            "",
            with_comments(config_name, cfg),
        ]
    )


def _wrapped(start: str, text: str, indent: str) -> str:
    """Return `start` and a text, in lines that fit into the terminal, if the output goes to one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if width - len(indent) < MIN_TEXT:
        return f"{start}{text}"
    return textwrap.fill(
        text, width, initial_indent=start, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
