"""When foreign predictions were made: by a column, by declaration, or by the file's own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from medimg.errors import ConfigError, InputError
from medimg.evaluation.foreign.files import Table

CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By how much the clocks of two machines may differ."""

_EXAMPLE = "2026-03-01T09:30:00Z, or with another zone 2026-03-01T10:30:00+01:00"


def parse_time(text: str, where: str) -> datetime:
    """Return a time with its zone.

    Raises
    ------
    ConfigError
        The text is no time, or its zone is missing: a guessed zone may put predictions before their protocol.

    >>> parse_time("2026-03-01T10:30:00+01:00", "predicted_at").isoformat()
    '2026-03-01T09:30:00+00:00'
    """
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError("This is no time.", where=where, got=text, expected=_EXAMPLE, fix="write it so") from error
    if when.tzinfo is None:
        raise ConfigError(
            "A time needs its zone.", where=where, got=text, expected=_EXAMPLE, fix="add Z where it is UTC"
        )
    return when.astimezone(UTC)


def earliest(table: Table, column: str) -> datetime:
    """Return the earliest time of a column; every row has one."""
    texts = table.texts(column)
    table.refuse(texts == "", column, "a time in every row", "fill these cells, or leave columns.predicted_at out")
    return min(parse_time(text, f"{table.path}, column {column}") for text in texts.unique())


def time_of(table: Table, in_column: datetime | None, declared: str | None) -> tuple[datetime, str]:
    """Return when the first prediction was made, and in words how that is known.

    Raises
    ------
    InputError
        A stated time lies after the file was written, or in the future.
    ConfigError
        It is no time.
    """
    if in_column is not None and declared is not None:
        raise ConfigError(
            "The time of the predictions is stated twice.",
            where="predicted_at",
            got=declared,
            fix="leave predicted_at out: the table has a column of times",
        )
    if in_column is None and declared is None:
        return table.modified, "the file's modification time, which any copy or edit changes"
    when = in_column if in_column is not None else parse_time(str(declared), "predicted_at")
    known = "the earliest time in the table's column" if in_column is not None else "declared in the configuration"
    for limit, what in ((table.modified, "the file was written"), (datetime.now(UTC), "now")):
        if when > limit + CLOCK_DIFFERENCE:
            raise InputError(
                "The predictions are said to be younger than they can be.",
                where=f"predicted_at, {table.path}",
                got=f"predicted {when.isoformat()}, {what} {limit.isoformat(timespec='seconds')}",
                expected="a time before the file was written",
                fix="state when the first test case was predicted",
            )
    return when, known
