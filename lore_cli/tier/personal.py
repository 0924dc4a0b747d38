"""Queries that look as if they held somebody's e-mail address, phone number or card number: never listed in a plan, so never cached.

Patterns are ours and err towards leaving out: a product code that looks like a phone number is answered by the tail's judge, which costs little.
Card numbers must have 14 to 19 digits, begin as the card schemes' do and pass Luhn's check (ISO/IEC 7812-1), so that bar codes (EAN, UPC) stay.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["e-mail", "phone", "card"]
KINDS: tuple[Kind, ...] = ("e-mail", "phone", "card")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\W\d_]{2,}")
_PHONE = re.compile(
    r"(?<![\w.])(?:\+|00)[1-9](?:[ ().\-/]*\d){7,13}(?!\w)"  # +44 20 7946 0958
    r"|(?<![\w.])\(0\d{1,4}\)[ ./-]*\d(?:[ ./-]*\d){4,9}(?!\w)"  # (020) 7946 0958
    r"|(?<![\w.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])"  # 212-555-0123
)
_CARD = re.compile(r"(?<![\w.])[2-6](?:[ -]?\d){13,18}(?!\w)")


def personal(query: str) -> Kind | None:
    """What a normalised query seems to hold, or None.

    >>> [personal(text) for text in ("ann@example.org", "+44 20 7946 0958", "4111 1111 1111 1111", "4006381333931", "iphone 12 128gb")]
    ['e-mail', 'phone', 'card', None, None]
    """
    if "@" in query and _EMAIL.search(query):
        return "e-mail"
    if sum(map(str.isdigit, query)) < 7:
        return None
    if any(_luhn(found[0]) for found in _CARD.finditer(query)):
        return "card"
    return "phone" if _PHONE.search(query) else None


def _luhn(text: str) -> bool:
    """Luhn's check over the digits of a text.

    >>> _luhn("4111 1111 1111 1111"), _luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(digit) for digit in text if digit.isdigit()][::-1]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0
