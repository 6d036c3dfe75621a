"""Set-based statements: their parameters as the columns of `unnest`, their answer as rows.

Arrays of arrays cannot have rows of different length, so a list travels as text. Ids hold no control characters: the
codec refuses them, which is what makes U+001D to U+001F marks that nothing can forge.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from asyncpg import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

_EACH: Final = "\x1e"
_NULL: Final = "\x1d"


async def fetch(connection: AsyncConnection, statement: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
    """The rows that `statement` answers, with `parameters` as `$1`, `$2` and so on."""
    return (await connection.exec_driver_sql(statement, parameters)).all()


async def driver(connection: AsyncConnection) -> Connection:
    """The driver's own connection, in the transaction that an earlier statement has begun; its errors are asyncpg's."""
    raw = await connection.get_raw_connection()
    own: Connection = raw.driver_connection
    return own


def listed(values: Iterable[str | None]) -> str:
    """One column of a set: the parameter of `texts`.

    Text, not an array: the driver looks at each element of an array in turn, which costs more than all else it does.
    """
    marked = [_NULL if value is None else value for value in values]
    return _EACH + _EACH.join(marked) if marked else ""


def texts(number: int, type_: str = "text") -> str:
    """SQL for the array that parameter `number` lists. Its first element is a sentinel: one empty text is not none."""
    return f"(string_to_array(${number}, e'\\x1e', e'\\x1d'))[2:]::{type_}[]"


def joined(values: Sequence[str]) -> str | None:
    """`values` in one text for `string_to_array`; None for none."""
    return "\x1f".join(values) if values else None


def jsonb(value: Mapping[str, str] | Mapping[str, int]) -> str:
    """`value` as the text of a jsonb."""
    return msgspec.json.encode(value).decode()
