"""How many parts a message from a browser has, before it is decoded.

A small message of protocol buffers can decode to objects of a hundred times its size: a part takes two bytes of it. This module reads as
much of the wire format as counting takes, and stops at the most that is allowed.
"""

from collections.abc import Iterator
from typing import TypeAlias, Union

from google.protobuf.descriptor import Descriptor

Lists: TypeAlias = dict[int, Union["Lists", None]]
"""Where a kind of message can have many parts: its fields by number, each with those in it. None stands for numbers, which may be packed
into one field."""
_FIXED = {1: 8, 5: 4}
"""Bytes of a number of fixed length, by the type of its field on the wire."""


class Unfit(Exception):
    """A message that no page sends, and that ends the connection; the browser is told `code` and the text, at most 123 bytes."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def lists_of(kind: Descriptor) -> Lists:
    """Where messages of this kind can have many parts."""
    lists: Lists = {}
    for part in kind.fields:
        if part.message_type:
            inner = lists_of(part.message_type)
            if inner or part.is_repeated:
                lists[part.number] = inner
        elif part.is_repeated:
            lists[part.number] = {} if part.type in (part.TYPE_STRING, part.TYPE_BYTES) else None
    return lists


def check(lists: Lists, data: bytes, first: int, end: int, most: int) -> None:
    """Raises Unfit where there are more than `most` parts between two places of a message."""
    # A part takes a byte at least, so that most messages need not be counted.
    if end - first > most:
        _count(lists, data, first, end, most)


def _count(lists: Lists, data: bytes, first: int, end: int, most: int) -> int:
    """How many of `most` parts are left after those between two places of a message.

    Raises:
        Unfit: there are more, or they are broken.
    """
    for number, start, stop in fields(data, first, end):
        most -= 1
        inner = lists.get(number, {})
        if inner is None:
            most -= stop - start
        elif inner:
            most = _count(inner, data, start, stop, most)
        if most < 0:
            raise Unfit(1009, "it has too many parts")
    return most


def only_field(data: bytes) -> tuple[int, int, int]:
    """The one field of a whole message, which says its kind."""
    kinds = fields(data, 0, len(data))
    field = next(kinds, None)
    if field is None or next(kinds, None) is not None:
        raise Unfit(1002, "it is not of one kind")
    return field


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of each field between two places of a message; of a plain number the end twice."""
    while at < end:
        tag, at = _varint(data, at)
        wire, start = tag & 7, 0
        if wire == 2:
            length, start = _varint(data, at)
            at = start + length
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise Unfit(1002, "it is broken")
        if at > end:
            raise Unfit(1002, "it is cut off")
        yield tag >> 3, start or at, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = shift = 0
    while shift < 70 and at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise Unfit(1002, "it is broken")
