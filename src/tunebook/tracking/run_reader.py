"""Read which runs a store holds, without MLflow's client, which takes seconds to import.

A sqlite store is read directly and never written to. A tracking server is queried over its REST
API. If neither is possible (another database, a server with a password), MLflow's client is used.
"""

import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tunebook.config.validation import InputError
from tunebook.redaction import redact
from tunebook.tags import SWEEP_KIND
from tunebook.tracking.store import open_client, require_store, sqlite_path

ID = re.compile("[0-9a-f]{32}")
LIMIT = 200  # the most runs that a search returns
TIMEOUT_S = (3.0, 10.0)  # for a server to accept the connection, and to answer
# Environment variables that only MLflow's client supports.
CLIENT_SETTINGS = re.compile("MLFLOW_TRACKING_(?!URI$)")
NEWEST_FIRST = ["attributes.start_time DESC"]


class NotReadable(InputError):
    """Report that a store can't be read in this way."""


@dataclass(frozen=True)
class FoundRun:
    """Hold what the store lists about a run."""

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sweep(self) -> bool:
        """Return whether this is a sweep's parent run, which does no training itself."""
        return self.tags.get(SWEEP_KIND) == "sweep"


@dataclass(frozen=True)
class Query:
    """Express a condition on runs, both as SQL with one parameter and as MLflow's filter."""

    sql: str
    value: str
    filter: str

    @classmethod
    def id_prefix(cls, digits: str) -> Self:
        """Return the condition that a run's id begins with these digits."""
        return cls("run_uuid LIKE ?", f"{digits}%", f"attributes.run_id LIKE '{digits}%'")

    @classmethod
    def name(cls, name: str) -> Self:
        """Return the condition that a run has this name."""
        quote = "'" if '"' in name else '"'
        return cls("name = ?", name, f"attributes.run_name = {quote}{name}{quote}")

    @classmethod
    def sweeps(cls) -> Self:
        """Return the condition that a run is a sweep's parent run."""
        with_tag = f"SELECT run_uuid FROM tags WHERE key = '{SWEEP_KIND}' AND value = ?"
        return cls(f"run_uuid IN ({with_tag})", "sweep", f"tags.`{SWEEP_KIND}` = 'sweep'")

    @classmethod
    def every(cls) -> Self:
        """Return the condition that is always true."""
        return cls("? = ''", "", "")


class Reader(Protocol):
    """Read runs from a store.

    Raises NotReadable if that is not possible in this way.
    """

    def get(self, run_id: str) -> FoundRun | None:
        """Return the run with this id, deleted or not."""

    def search(self, query: Query, limit: int = LIMIT) -> list[FoundRun]:
        """Return at most `limit` runs that match and are not deleted, newest first."""

    def experiments(self) -> list[str]:
        """Return the names of all experiments that are not deleted."""


def open_reader(uri: str) -> Reader:
    """Return the quickest reader that can read the store.

    Raises InputError if there is no store, or if no server answers.
    """
    require_store(uri)
    try:
        if sqlite_path(uri) is not None:
            return SqliteReader(uri)
        if uri.startswith("http") and not any(map(CLIENT_SETTINGS.match, os.environ)):
            return RestReader(uri)
    except NotReadable:
        pass
    return ClientReader(uri)


class SqliteReader:
    """Read MLflow's tables in a sqlite file.

    It needs only columns that these tables have had since MLflow 1.
    """

    def __init__(self, uri: str) -> None:
        path = sqlite_path(uri)
        assert path is not None
        self.file = f"{path.absolute().as_uri()}?mode=ro"
        self.search(Query.every(), limit=1)
        self.experiments()

    def get(self, run_id: str) -> FoundRun | None:
        """Return the run with this id, deleted or not."""
        return next(iter(self._runs("run_uuid = ?", [run_id])), None)

    def search(self, query: Query, limit: int = LIMIT) -> list[FoundRun]:
        """Return at most `limit` runs that match and are not deleted, newest first."""
        where = f"lifecycle_stage = 'active' AND {query.sql} ORDER BY start_time DESC LIMIT ?"
        return self._runs(where, [query.value, limit])

    def experiments(self) -> list[str]:
        """Return the names of all experiments that are not deleted."""
        (rows,) = self._rows(
            [("SELECT name FROM experiments WHERE lifecycle_stage = 'active'", [])]
        )
        return [str(name) for (name,) in rows]

    def _runs(self, where: str, values: Sequence[object]) -> list[FoundRun]:
        runs = f"SELECT run_uuid, name, status FROM runs WHERE {where}"
        tags = (
            "SELECT run_uuid, key, value FROM tags "
            f"WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE {where})"
        )
        found, pairs = self._rows([(runs, values), (tags, values)])
        tags_of: dict[str, dict[str, str]] = {}
        for run_id, key, value in pairs:
            tags_of.setdefault(str(run_id), {})[str(key)] = str(value)
        return [
            FoundRun(str(run_id), str(name or ""), str(status), tags_of.get(str(run_id), {}))
            for run_id, name, status in found
            if ID.fullmatch(str(run_id))
        ]

    def _rows(self, statements: Sequence[tuple[str, Sequence[object]]]) -> list[list[Any]]:
        try:
            connection = sqlite3.connect(self.file, uri=True, timeout=1)
            connection.text_factory = lambda data: data.decode(errors="replace")
            try:
                return [connection.execute(*statement).fetchall() for statement in statements]
            finally:
                connection.close()
        except (sqlite3.Error, UnicodeError) as error:
            raise NotReadable(f"tracking.uri: the store can't be read ({error})") from None


class RestReader:
    """Read runs from a tracking server over its REST API."""

    def __init__(self, uri: str) -> None:
        import requests

        self.uri, self.session = uri.rstrip("/"), requests.Session()
        found = self._pages("experiments/search", "experiments", {}, 100_000)
        self.ids = [(str(one.get("experiment_id")), str(one.get("name"))) for one in found]

    def get(self, run_id: str) -> FoundRun | None:
        """Return the run with this id, deleted or not."""
        answer = self._ask("GET", "runs/get", params={"run_id": run_id})
        return next(iter(_of_json([answer.get("run")])), None)

    def search(self, query: Query, limit: int = LIMIT) -> list[FoundRun]:
        """Return at most `limit` runs that match and are not deleted, newest first."""
        ids = [experiment_id for experiment_id, _ in self.ids]
        asked = {"experiment_ids": ids, "filter": query.filter, "order_by": NEWEST_FIRST}
        return _of_json(self._pages("runs/search", "runs", asked, limit))

    def experiments(self) -> list[str]:
        """Return the names of all experiments that are not deleted."""
        return [name for _, name in self.ids]

    def _pages(self, method: str, what: str, asked: Mapping[str, Any], limit: int) -> list[Any]:
        found: list[Any] = []
        more: dict[str, Any] = {}
        while len(found) < limit:
            page = self._ask(
                "POST", method, json={**asked, **more, "max_results": min(limit - len(found), 1000)}
            )
            items = page.get(what)
            if not isinstance(items, list) or not items:
                break
            found += [item for item in items if isinstance(item, dict)]
            more = {"page_token": page.get("next_page_token")}
            if not more["page_token"]:
                break
        return found

    def _ask(self, verb: str, method: str, **content: Any) -> dict[str, Any]:
        """Return the server's answer, or {} if it says that there is no such resource."""
        try:
            address = f"{self.uri}/api/2.0/mlflow/{method}"
            answer = self.session.request(verb, address, timeout=TIMEOUT_S, **content)
            found = answer.json()
        except (OSError, ValueError) as error:  # requests' own errors are OSErrors
            reason = f"{type(error).__name__}"
            raise NotReadable(
                f"tracking.uri={redact(self.uri)}: can't be read ({reason})"
            ) from None
        if (
            answer.status_code == 404
            and isinstance(found, dict)
            and found.get("error_code") == "RESOURCE_DOES_NOT_EXIST"
        ):
            return {}
        if not answer.ok or not isinstance(found, dict):
            raise NotReadable(
                f"tracking.uri={redact(self.uri)}: "
                f"answers {method} with status {answer.status_code}"
            )
        return found


class ClientReader:
    """Read with MLflow's own client, which can open every store but takes seconds to import."""

    def __init__(self, uri: str) -> None:
        from mlflow.exceptions import MlflowException

        self.uri, self.client, self.error = uri, open_client(uri), MlflowException

    def get(self, run_id: str) -> FoundRun | None:
        """Return the run with this id, deleted or not."""
        try:
            return next(iter(_of_json([self.client.get_run(run_id).to_dictionary()])), None)
        except self.error:
            return None

    def search(self, query: Query, limit: int = LIMIT) -> list[FoundRun]:
        """Return at most `limit` runs that match and are not deleted, newest first."""
        try:
            ids = [experiment.experiment_id for experiment in self.client.search_experiments()]
            runs = self.client.search_runs(
                ids, query.filter, max_results=limit, order_by=NEWEST_FIRST
            )
        except self.error as error:
            reason = redact(" ".join(str(error).split()))[:200]
            raise NotReadable(
                f"tracking.uri={redact(self.uri)}: can't be read ({reason})"
            ) from None
        return _of_json([run.to_dictionary() for run in runs])

    def experiments(self) -> list[str]:
        """Return the names of all experiments that are not deleted."""
        return [experiment.name for experiment in self.client.search_experiments()]


def _of_json(runs: Iterable[Any]) -> list[FoundRun]:
    """Return the runs in MLflow's JSON.

    Malformed ones are left out, because a server is not trusted.
    """
    found: list[FoundRun] = []
    for run in runs:
        try:
            info, tags = run["info"], run.get("data", {}).get("tags", {})
            pairs = (
                tags
                if isinstance(tags, dict)
                else {tag["key"]: tag.get("value", "") for tag in tags}
            )
            texts = {str(key): str(value) for key, value in pairs.items()}
            one = FoundRun(
                str(info["run_id"]), str(info.get("run_name") or ""), str(info.get("status")), texts
            )
        except (KeyError, TypeError, AttributeError):
            continue
        if ID.fullmatch(one.run_id):
            found.append(one)
    return found
