"""The protobuf wire format, written: fields of a message as bytes, to be put one after the other.

betterproto2 compiles validators anew for every message that it encodes. Where a message is encoded
again and again and little of it changes, its parts are put together here instead.
"""

from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5

_MAX_UINT32: Final = (1 << 32) - 1
_WRAPPED: Final = bytes((1 << 3 | VARINT,))
"""The tag of the only field of a wrapper message."""

# The bytes of numbers: seven bits each, from the lowest, all but the last with the eighth bit set.
# Looking them up is what makes it fast: tags up to field 15 and most lengths are one of them.
_LAST: Final = tuple(bytes((bits,)) for bits in range(0x80))
_MORE: Final = tuple(bytes((bits | 0x80,)) for bits in range(0x80))


def tag(number: int, wire_type: int = LENGTH_DELIMITED) -> int:
    """The tag of a field: its number and how it is encoded.

    A known number with another wire type has another tag, and is skipped as an unknown field.
    """
    return number << 3 | wire_type


def varint(value: int) -> bytes:
    """Encode a number.

    Args:
        value: 0 or more.
    """
    if value < 0x80:
        return _LAST[value]
    return _MORE[value & 0x7F] + varint(value >> 7)


def delimited(number: int, value: bytes) -> bytes:
    """Encode a field of bytes, text or an encoded message, empty or not."""
    return varint(tag(number)) + varint(len(value)) + value


def implicit(number: int, value: bytes) -> bytes:
    """Encode a field of bytes or text that proto3 leaves out when it has its default, empty."""
    return delimited(number, value) if value else b""


def uint32_value(number: int, value: int) -> bytes:
    """Encode a field that is a ``google.protobuf.UInt32Value``: a number that may be absent.

    Raises:
        ValueError: When the number does not fit.
    """
    if not 0 <= value <= _MAX_UINT32:
        raise ValueError(f"{value} does not fit into 32 bits: it must be 0 to {_MAX_UINT32}")
    # Present and 0 is an empty message: within it, 0 is the default.
    return delimited(number, _WRAPPED + varint(value) if value else b"")
