"""Dataclasses as plain JSON and back: a field is a key, and its type says how the value is read.

Fields are numbers, text, None, choices (Literal), other dataclasses, and tuples and dictionaries of these. A field with
a default is left out where it has that value, so that a key can be added without a new format. Metadata {"key": ...}
gives a field another key. A field may be of a dataclass or another type: of the dataclass where the document has a
dictionary.
"""

from __future__ import annotations

__all__ = ["from_json", "to_json"]

import math
import reprlib
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

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


def from_json(kind: type[T], document: object, *, finite: bool = True) -> T:
    """The dataclass that `to_json` made a dictionary of; keys that it does not know are passed over.

    Args:
        kind: the dataclass.
        document: parsed JSON.
        finite: refuse NaN and infinity.

    Raises:
        DataError: a key is missing, or its value is of another type or not finite; the message says where.
    """
    return _Reader(finite).read(kind, document, "")  # type: ignore[no-any-return]


class _Reader:
    """Reads values by their types; `where` is the path of the value in the document."""

    def __init__(self, finite: bool) -> None:
        self.finite = finite

    def read(self, kind: Any, document: Any, where: str) -> Any:
        if kind is Any:
            return document
        if isinstance(kind, UnionType):
            kinds = [one for one in get_args(kind) if one is not NoneType]
            fitting = [one for one in kinds if is_dataclass(one) == isinstance(document, dict)]
            return None if document is None else self.read((fitting or kinds)[0], document, where)
        if is_dataclass(kind):
            _check(isinstance(document, dict), kind, document, where)
            return self._fields(kind, document, where)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Literal:
            _check(document in arguments, f"one of {', '.join(map(repr, arguments))}", document, where)
            return document
        if origin is tuple:
            return self._tuple(kind, arguments, document, where)
        if origin is dict:
            _check(isinstance(document, dict), kind, document, where)
            name, inner_kind = arguments
            return {name(key): self.read(inner_kind, inner, f"{where}.{key}") for key, inner in document.items()}
        return self._plain(kind, document, where)

    def _tuple(self, kind: Any, arguments: tuple[Any, ...], document: Any, where: str) -> Any:
        _check(isinstance(document, list), kind, document, where)
        any_length = arguments[1:] == (...,)
        _check(any_length or len(document) == len(arguments), f"list of {len(arguments)}", document, where)
        kinds = arguments[:1] * len(document) if any_length else arguments
        return tuple(self.read(k, one, f"{where}[{i}]") for i, (k, one) in enumerate(zip(kinds, document, strict=True)))

    def _fields(self, kind: Any, document: dict[str, Any], where: str) -> Any:
        types = get_type_hints(kind)
        values = {}
        for one in fields(kind):
            key = _key(one)
            if key in document:
                values[one.name] = self.read(types[one.name], document[key], f"{where}.{key}")
            elif _default(one) is MISSING:
                raise DataError(f"{where or 'the document'} has no {key!r}.")
        return kind(**values)

    def _plain(self, kind: Any, document: Any, where: str) -> Any:
        wanted = (int, float) if kind is float else kind
        _check(isinstance(document, wanted) and (kind is bool or not isinstance(document, bool)), kind, document, where)
        if kind is int:
            _check(-(2**63) <= document < 2**63, "int of 64 bits", document, where)
        if kind is float:
            _check(_fits(document) and (not self.finite or math.isfinite(document)), "finite number", document, where)
        return kind(document)


def _fits(number: float) -> bool:
    """Whether float64 can hold it, which whole numbers of JSON need not."""
    try:
        float(number)
    except OverflowError:
        return False
    return True


def _default(one: Field[Any]) -> Any:
    """The value of a field that is left out; MISSING where it may not be."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def _key(one: Field[Any]) -> str:
    return str(one.metadata.get("key", one.name))


def _check(holds: bool, kind: Any, document: object, where: str) -> None:
    if not holds:
        name = kind if isinstance(kind, str) else getattr(kind, "__name__", kind)
        raise DataError(f"{where or 'the document'} is no {name}: {reprlib.repr(document)}.")
