"""Pictures from the web, fetched so that a row cannot make this machine talk to its own network.

Rows are hostile text: `http://169.254.169.254/…` in item.image would read a cloud's secrets. So [ours] a name is resolved first, every address that it has
must be public, the connection goes to the address that was checked, each redirect is checked anew; size, time and redirects are limited; and only what
Pillow reads as a picture is kept. Cookies, credentials and proxies are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from lore_cli import __version__
from lore_cli.errors import Missing
from lore_cli.images import read_picture

MOST_BYTES = 20 << 20
SECONDS = 10.0  # for one address, from connecting to the last byte
REDIRECTS = 3
_CHUNK = 1 << 16


class Refused(Exception):
    """A picture that was not fetched; the text says why."""


def fetch_picture(url: str, target: Path) -> None:
    """Put the picture at `url` into the file `target`. Raises `Refused` for anything that is not a public picture within the limits."""
    place = url
    for _ in range(REDIRECTS + 1):
        try:
            place = _fetch(place, target) or ""
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            raise Refused(f"image {url}: not fetched: {error or type(error).__name__}") from error
        if not place:
            break
    else:
        raise Refused(f"image {url}: more than {REDIRECTS} redirects")
    try:
        read_picture(target, 64)
    except Missing as problem:
        raise Refused(f"image {url}: {problem.message.partition(': ')[2]}") from problem


def _fetch(url: str, target: Path) -> str | None:
    """One request: the content goes into `target`, or the address that it redirects to comes back. Raises OSError, HTTPException or ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("an address is http://HOST/… or https://HOST/…, without user and password")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    stream: socket.socket = socket.create_connection((public_address(parts.hostname, port), port), timeout=SECONDS)
    if parts.scheme == "https":
        stream = ssl.create_default_context().wrap_socket(stream, server_hostname=parts.hostname)
    end = threading.Timer(SECONDS, stream.shutdown, [socket.SHUT_RDWR])  # a time-out of the socket begins anew with every byte of a slow server
    end.daemon = True
    end.start()
    try:
        connection = http.client.HTTPConnection(parts.hostname, port)
        connection.sock = stream  # to the address that was checked: the name is not looked up again
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": f"lore-cli/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"})
        reply = connection.getresponse()
        if reply.status in (301, 302, 303, 307, 308):
            return urljoin(url, reply.getheader("Location") or "")
        if reply.status != 200:
            raise ValueError(f"status {reply.status}")
        _save(reply, target)
        return None
    finally:
        end.cancel()
        stream.close()


def _save(reply: http.client.HTTPResponse, target: Path) -> None:
    size = 0
    with target.open("wb") as file:
        while block := reply.read(_CHUNK):
            size += len(block)
            if size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES >> 20} MB")
            file.write(block)
    if reply.length:
        raise ValueError(f"cut off {reply.length} bytes before its end, or after {SECONDS:g} s")


def public_address(host: str, port: int) -> str:
    """The first address of a host, when all of them are public. Raises ValueError naming one that is not, OSError for a host that is unknown."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not is_public(address):
            raise ValueError(f"{host} is {address}, no public address")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an address belongs to the open internet, and an IPv4 address written inside an IPv6 one (mapped, 6to4, Teredo, NAT64) too.

    >>> is_public("93.184.215.14"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1"), is_public("64:ff9b::7f00:1")
    (True, False, False, False)
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = []
    if isinstance(parsed, ipaddress.IPv6Address):
        nat64 = parsed in ipaddress.ip_network("64:ff9b::/96")
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ()), ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF) if nat64 else None]
        if parsed.ipv4_mapped:
            return is_public(str(parsed.ipv4_mapped))
    return parsed.is_global and not parsed.is_multicast and all(part.is_global for part in inner if part is not None)
