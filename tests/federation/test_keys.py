import pytest

from processors.federation.keys import BadKey, is_signed, is_weak, read_key, write_key
from tests.federation.support import Node, base64_of

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    """The addition law of edwards25519: -x² + y² = 1 + dx²y²."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def times(factor: int, point: Point) -> Point:
    total: Point = (0, 1)
    while factor:
        if factor & 1:
            total = add(total, point)
        point = add(point, point)
        factor >>= 1
    return total


def some_point(y: int) -> Point | None:
    """The point with this y and an even x; None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (min(x, P - x), y) if x * x % P == square else None


def small_order_points() -> set[Point]:
    """All eight: a point times the order of the large subgroup is one of them."""
    order = 2**252 + 27742317777372353535851937790883648493
    points = (some_point(y) for y in range(2, 40))
    return {times(order, point) for point in points if point is not None}


def encodings() -> list[bytes]:
    """Each of them in every spelling: either sign of x where x is 0, and y with the prime added where it fits."""
    found = set()
    for x, y in small_order_points():
        signs = {0, 1} if x == 0 else {x & 1}
        found |= {(z | sign << 255).to_bytes(32, "little") for z in (y, y + P) if z < 2**255 for sign in signs}
    return sorted(found)


def test_there_are_eight_points_of_small_order() -> None:
    assert len(small_order_points()) == 8


@pytest.mark.parametrize("key", encodings(), ids=bytes.hex)
def test_a_point_of_small_order_is_no_key_in_any_spelling(key: bytes) -> None:
    assert is_weak(key)


def test_anybody_could_sign_for_the_neutral_point() -> None:
    neutral = b"\x01" + bytes(31)
    signature = neutral + bytes(32)
    assert is_signed(b"whatever", signature, neutral)
    assert is_weak(neutral)


@pytest.mark.parametrize("y", [P, P + 3, 2**255 - 1, (P + 3) | 1 << 255])
def test_a_key_with_the_prime_added_is_refused(y: int) -> None:
    assert is_weak(y.to_bytes(32, "little"))


def test_a_key_that_was_made_in_order_is_read_and_written_again() -> None:
    for _ in range(20):
        key = Node().pubkey
        assert read_key(write_key(key)) == key


@pytest.mark.parametrize("text", ["", "x", "é", " " + base64_of(b"x" * 32), base64_of(b"x" * 31), base64_of(b"x" * 33)])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadKey, match=r"^must be base64 of 32 bytes$"):
        read_key(text)
