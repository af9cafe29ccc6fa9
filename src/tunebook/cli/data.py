"""Look for problems in a data set: unreadable images, copies, leaks between splits, small classes.

Example: `python src/data.py root=photos/`. `python src/data.py clean` removes decoded images.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("data_audit", check="tunebook.report.requested_audit:check")
def main(cfg: "DictConfig") -> None:
    """Print the findings and write the page, or remove the cache."""
    from tunebook.report.data_audit import audit_data, clean_cache
    from tunebook.report.requested_audit import RequestedAudit

    requested = RequestedAudit.of(cfg)
    if requested.clean:
        clean_cache(requested)
    else:
        audit_data(requested)
