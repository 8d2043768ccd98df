"""What travels on the serial line of SSH: data in any bytes, and codes between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.guest.relay import Code, Unpacker, pack

CODES = st.sampled_from([b"}A", b"}C", b"}R\x1b", b"}R}", b"}N\x07"])
PARTS = st.lists(st.one_of(st.binary(max_size=40), CODES.map(bytearray)), max_size=12)


@given(st.binary())
def test_what_gnumach_s_driver_would_lose_is_never_sent(data: bytes) -> None:
    assert b"\x1b" not in pack(data)


@given(PARTS, st.integers(1, 7))
def test_data_and_codes_are_told_apart_in_pieces_of_any_size(
    parts: list[bytes | bytearray], size: int
) -> None:
    # A bytearray is a code, sent as it is; bytes are data.
    raw = b"".join(bytes(p) if isinstance(p, bytearray) else pack(p) for p in parts)
    unpacker = Unpacker()
    data, codes = bytearray(), []
    for at in range(0, len(raw), size):
        for part in unpacker.feed(raw[at : at + size]):
            if isinstance(part, Code):
                codes.append((len(data), part))
            else:
                data += part
    wanted, expected = bytearray(), []
    for each in parts:
        if isinstance(each, bytearray):
            number = each[2] if len(each) == 3 else 0
            expected.append((len(wanted), Code(chr(each[1]), number)))
        else:
            wanted += each
    assert data == wanted
    assert codes == expected
