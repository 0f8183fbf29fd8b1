"""What a zstd frame says that it unpacks to, before anything is unpacked (RFC 8878, 3.1.1)."""

from __future__ import annotations

_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)


def content_size(head: bytes) -> int | None:
    """Return the content size in the first 18 bytes of a frame; None where there is none."""
    if not head.startswith(_MAGIC) or len(head) <= len(_MAGIC):
        return None
    descriptor = head[len(_MAGIC)]
    single_segment = bool(descriptor & 0x20)
    count = _SIZE_BYTES[descriptor >> 6] or int(single_segment)
    start = len(_MAGIC) + 1 + (not single_segment) + _DICTIONARY_BYTES[descriptor & 3]
    field = head[start : start + count]
    if count == 0 or len(field) < count:
        return None
    return int.from_bytes(field, "little") + (256 if count == _SIZE_BYTES[1] else 0)
