"""Find out the size, the colours and the digest of each image file, and whether it can be read.

What was found is kept in an SQLite file, so that only files that have changed since are read again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tunebook.data.listing import Listing


@dataclass(frozen=True)
class Inspection:
    """Hold what was found out about each image of a listing, in its order.

    digests: BLAKE2b of the file's bytes, 32 hexadecimal digits; "" for a file that can't be opened.
    widths, heights: pixels, as the image is shown (after EXIF rotation). channels: 1 for a grey
    image, 3 for a coloured one. bytes, modified_ns: of the file when it was read.
    problems: position -> why the image can't be used, such as "is truncated".
    """

    digests: tuple[str, ...]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    channels: npt.NDArray[np.int8]
    bytes: npt.NDArray[np.int64]
    modified_ns: npt.NDArray[np.int64]
    problems: Mapping[int, str]


def inspect_files(listing: Listing, cache: Path, show_progress: bool = True) -> Inspection:
    """Return what is known about the files of a listing; read those that are new or have changed.

    cache: the folder of the SQLite file. A progress bar is shown if it takes more than a second.
    """
    raise NotImplementedError
