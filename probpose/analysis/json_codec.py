"""Dataclasses as plain JSON and back: a field is a key, and its type says how the value is read.

Fields are numbers, text, None, other dataclasses, and tuples and dictionaries of these. A field with a default is left
out where it has that value, so that a key can be added without a new format. Metadata {"key": ...} gives a field
another key. A field may be of a dataclass or another type: of the dataclass where the document has a dictionary.
"""

from __future__ import annotations

__all__ = ["from_json", "to_json"]

from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from probpose.errors import DataError

T = TypeVar("T")


def to_json(value: object) -> Any:
    """A dataclass as a dictionary, with all that is in it."""
    if is_dataclass(value):
        found = {one: getattr(value, one.name) for one in fields(value)}
        return {_key(one): to_json(inner) for one, inner in found.items() if inner != _default(one)}
    if isinstance(value, dict):
        return {str(key): to_json(inner) for key, inner in value.items()}
    return [to_json(inner) for inner in value] if isinstance(value, tuple) else value


def from_json(kind: type[T], document: object) -> T:
    """The dataclass that `to_json` made a dictionary of; keys that it does not know are passed over.

    Raises:
        DataError: a key is missing, or its value is of another type; the message says where.
    """
    return _read(kind, document, "")  # type: ignore[no-any-return]


def _read(kind: Any, document: Any, where: str) -> Any:
    if isinstance(kind, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        fitting = [one for one in kinds if is_dataclass(one) == isinstance(document, dict)]
        return None if document is None else _read((fitting or kinds)[0], document, where)
    if is_dataclass(kind):
        _check(isinstance(document, dict), kind, document, where)
        return _read_fields(kind, document, where)
    origin = get_origin(kind)
    if origin is tuple:
        _check(isinstance(document, list), kind, document, where)
        return tuple(_read(get_args(kind)[0], inner, f"{where}[{i}]") for i, inner in enumerate(document))
    if origin is dict:
        _check(isinstance(document, dict), kind, document, where)
        name, inner_kind = get_args(kind)
        return {name(key): _read(inner_kind, inner, f"{where}.{key}") for key, inner in document.items()}
    wanted = (int, float) if kind is float else kind
    _check(isinstance(document, wanted) and (kind is bool or not isinstance(document, bool)), kind, document, where)
    return kind(document)


def _read_fields(kind: Any, document: dict[str, Any], where: str) -> Any:
    types = get_type_hints(kind)
    values = {}
    for one in fields(kind):
        key = _key(one)
        if key in document:
            values[one.name] = _read(types[one.name], document[key], f"{where}.{key}")
        elif _default(one) is MISSING:
            raise DataError(f"{where or 'the document'} has no {key!r}.")
    return kind(**values)


def _default(one: Field[Any]) -> Any:
    """The value of a field that is left out; MISSING where it may not be."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def _key(one: Field[Any]) -> str:
    return str(one.metadata.get("key", one.name))


def _check(holds: bool, kind: Any, document: object, where: str) -> None:
    if not holds:
        raise DataError(f"{where or 'the document'} is no {getattr(kind, '__name__', kind)}: {str(document)[:40]!r}.")
