"""Check that an ablation trains on the images that the winner was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebook.config.validation import InputError
from tunebook.runs.assemble import make_source
from tunebook.runs.data_place import own_images
from tunebook.tags import IMAGES
from tunebook.tracking.arrived import run_id_of
from tunebook.tracking.run_reader import open_reader


def check_images(of: str, winner: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError if the user's own images differ from those of a sweep's winner.

    Nothing is checked if what the winner recorded can't be found. of: the sweep. winner: the
    winner's folder. settings: of a run of the ablation.
    """
    data = settings["data"]
    where, uri = own_images(data), settings["tracking"].get("uri")
    run_id = run_id_of(winner)
    if where is None or not uri or not run_id:
        return
    run = open_reader(str(uri)).get(run_id)
    recorded = "" if run is None else run.tags.get(IMAGES, "")
    found = make_source(dict(data)).describe(Path(str(data["root"])))
    if found is None or not recorded:
        return
    if recorded.rpartition(" ")[2] != found.digest:
        raise InputError(
            f"{where}: has other images than the sweep {of} was trained on "
            "(files were added, removed or changed)"
        )
