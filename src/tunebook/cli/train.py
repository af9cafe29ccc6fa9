"""Train, test and record one experiment, or several with -m.

Example: `python src/train.py optimizer=adam model.filters=16`.
"""

from tunebook.cli.entry import command
from tunebook.config.run_config import RunConfig


@command(
    "config",
    read=RunConfig.of,
    check="tunebook.runs.early_check:check",
    resolve_resume="tunebook.runs.resolve_resume:resolve_resume",
    sweep="tunebook.sweeps.command:sweep",
)
def main(config: RunConfig) -> float | None:
    """Run the experiment and return its objective, which a sweep optimizes."""
    if config.settings["find"]:
        from tunebook.runs.finders.find import find

        find(config)
        return None
    from tunebook.runs.execute import execute

    return execute(config)
