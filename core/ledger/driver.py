"""Hot statements, straight to the database driver: the same tables, without a compilation for every call.

The writer runs a handful of statements thousands of times a second. What they cost through the statement layer is several
times what SQLite needs, and every call into SQLite lets go of the interpreter's lock, so fewer and larger calls count twice.
Tables and columns still come from `core.ledger.tables`, and everything that is not hot stays in SQLAlchemy Core.

Rules:

1. Rows are tuples in the order of the columns named once, at import.
2. A statement's text depends on a power of two of rows, never on their number: the driver's statement cache holds them all.
3. PostgreSQL gets many rows by ``COPY`` and a list as one array: a text with a mark for every value costs its driver, which reads
   each text anew, more than the rows cost the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

_MOST: Final = 256
"""Rows in one statement: 256 rows of 20 columns stay far below the 32,766 values that SQLite takes; each call costs a turn of the
interpreter's lock."""

_COPIED: Final = 8
"""Rows from which ``COPY`` costs less than one statement: it takes two round trips."""


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    """The driver's cursor; its errors come out as SQLAlchemy's, without the values, which may be personal."""
    dbapi = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except dbapi.Error as error:
        if connection.dialect.is_disconnect(error, connection.connection.driver_connection, cursor):
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, dbapi.Error, hide_parameters=True, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()


def _sizes(count: int) -> Iterator[int]:
    """``count`` as powers of two, largest first, none above `_MOST`."""
    size = _MOST
    while count:
        while size > count:
            size //= 2
        yield size
        count -= size


_SPECIAL: Final = re.compile(r"[\\\t\n\r]")
_ESCAPED: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _copied(value: Any) -> str:
    """A value in the text format of ``COPY``."""
    if type(value) is str:
        return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], value) if _SPECIAL.search(value) else value
    if value is None:
        return "\\N"
    return "\\\\x" + value.hex() if isinstance(value, bytes) else str(value)


class Insert:
    """Inserts rows of one table. ``unless_there`` leaves rows alone whose key exists."""

    def __init__(self, table: Table, columns: Sequence[str], *, unless_there: bool = False) -> None:
        assert set(columns) <= set(table.c.keys()), columns
        names = f"{table.name} ({', '.join(columns)})"
        self._head = f"INSERT INTO {names} VALUES "  # noqa: S608 - names of our own tables
        self._tail = " ON CONFLICT DO NOTHING" if unless_there else ""
        self._copy = "" if unless_there else f"COPY {names} FROM STDIN"
        self._width = len(columns)
        self._texts: dict[tuple[str, int], str] = {}

    def _text(self, mark: str, size: int) -> str:
        text = self._texts.get((mark, size))
        if text is None:
            row = "(" + ", ".join([mark] * self._width) + ")"
            text = self._texts[mark, size] = self._head + ", ".join([row] * size) + self._tail
        return text

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert ``rows``; gives how many were inserted."""
        if not rows:
            return 0
        mark, done, inserted = _mark(connection), 0, 0
        if mark == "%s" and self._copy and len(rows) >= _COPIED:
            with _cursor(connection) as cursor, cursor.copy(self._copy) as copy:
                copy.write("".join(["\t".join(map(_copied, row)) + "\n" for row in rows]))
            return len(rows)
        with _cursor(connection) as cursor:
            for size in _sizes(len(rows)):
                values = [value for row in rows[done : done + size] for value in row]
                cursor.execute(self._text(mark, size), values)
                inserted += cursor.rowcount
                done += size
        return inserted


class Select:
    """Reads rows of one table by a column's values."""

    def __init__(self, table: Table, columns: Sequence[str], by: str, *, locking: bool = False) -> None:
        assert {*columns, by} <= set(table.c.keys()), columns
        wanted = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {by}"  # noqa: S608 - names of our own tables
        self._head, self._array = f"{wanted} IN (", f"{wanted} = ANY(%s)"
        self._locking = locking

    def run(self, connection: Connection, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows whose column is one of ``values``, in no order."""
        found: list[tuple[Any, ...]] = []
        mark = _mark(connection)
        with _cursor(connection) as cursor:
            if mark == "%s":
                cursor.execute(self._array + " FOR UPDATE" * self._locking, [list(values)])
                return list(cursor.fetchall())
            for start in range(0, len(values), _MOST):
                wanted = list(values[start : start + _MOST])
                size = 1 << (len(wanted) - 1).bit_length()
                wanted += [wanted[-1]] * (size - len(wanted))
                cursor.execute(self._head + ", ".join([mark] * size) + ")", wanted)
                found += cursor.fetchall()
        return found


class Update:
    """Sets columns of rows named by their key, row by row in one call."""

    def __init__(self, table: Table, columns: Sequence[str], key: str, *, constants: str = "") -> None:
        assert {*columns, key} <= set(table.c.keys()), columns
        self._table, self._columns, self._key, self._constants = table.name, columns, key, constants

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Each row is the new values in order, then the key."""
        mark = _mark(connection)
        sets = ", ".join(f"{name} = {mark}" for name in self._columns) + self._constants
        with _cursor(connection) as cursor:
            cursor.executemany(f"UPDATE {self._table} SET {sets} WHERE {self._key} = {mark}", list(rows))  # noqa: S608


_LIST: Final = re.compile(r"IN \(\{\w+\}\)")


class Query:
    """A statement with ``?`` for each value, and ``IN ({name})`` where a list of them goes; gives its rows.

    Values stand before the lists in the text, and those ``after`` behind them.
    """

    def __init__(self, text: str) -> None:
        self._texts = {"?": text, "%s": _LIST.sub("= ANY(%s)", text.replace("%", "%%").replace("?", "%s"))}

    def run(
        self, connection: Connection, values: Sequence[Any], after: Sequence[Any] = (), **lists: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """The rows. Lists come in the order of the text."""
        mark = _mark(connection)
        text, given = self._texts[mark], list(values)
        for name, items in lists.items():
            if mark == "%s":
                given.append(list(items))
                continue
            size = 1 << max(0, len(items) - 1).bit_length()
            text = text.replace("{" + name + "}", ", ".join([mark] * size))
            given += [*items, *[items[-1]] * (size - len(items))]
        with _cursor(connection) as cursor:
            cursor.execute(text, [*given, *after])
            return list(cursor.fetchall())
