"""Print --help and --cfg job: the settings, with their comments from conf/.

The comment after a key gives its unit or range.
"""

from omegaconf import DictConfig, OmegaConf, open_dict

from tunebook.config.comments import comments, description, keys_of
from tunebook.config.compose import default_choices, options
from tunebook.program import own_call


def with_comments(config_name: str, cfg: DictConfig) -> str:
    """Return the composed config as YAML, with the comment of each key after it."""
    comment_of = comments(config_name, dict(cfg.hydra.runtime.choices))
    shown = cfg.copy()
    with open_dict(shown):
        del shown["hydra"]
    text = OmegaConf.to_yaml(shown)
    lines = text.splitlines()
    for key in keys_of(text):
        if key.path in comment_of:
            lines[key.line] = f"{lines[key.line]:<40}  # {comment_of[key.path]}"
    return "\n".join(lines)


def help_text(config_name: str, cfg: DictConfig, script: str) -> str:
    """Return the text that --help prints."""
    choices = dict(cfg.hydra.runtime.choices)
    groups = []
    for group in default_choices(config_name):
        groups.append(f"\n{group}")
        for option in options(group):
            chosen = "*" if choices.get(group) == option else " "
            groups.append(f"  {chosen} {option:<15} {description(group, option)}")
    return "\n".join(
        [
            (
                f"usage: {' '.join(own_call(script))} [group=option ...] [group.key=value ...] "
                "[-m: every combination of a,b,c]"
            ),
            "       --cfg job: show the config and end    --hydra-help: Hydra's own flags",
            "",
            "Groups and their options (* chosen):",
            *groups,
            "",
            "Settings of the chosen options:",
            "",
            with_comments(config_name, cfg),
        ]
    )
