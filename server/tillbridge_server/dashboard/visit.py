"""Who is asking: peer and Host rules, cookies, cross-site checks; pure looks at one request."""

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

SESSION_COOKIE = "tillbridge_session"
#: Before anybody signs in, forms are tied to this random cookie instead of a session.
GUEST_COOKIE = "tillbridge_guest"
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


@dataclass(frozen=True)
class Visit:
    """One request as the pages see it: `person` None means nobody is signed in; `csrf` goes into every form."""

    person: str | None
    csrf: str
    password_set: bool

    @property
    def by(self) -> str:
        """The name deeds are written down under."""
        return self.person or "this computer (no password set)"


def peer_address(request: web.Request) -> str:
    """The address of the other end of the connection, never what a header says."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else ""


def is_local(request: web.Request) -> bool:
    """True for a browser on this very machine that asked for this machine by a loopback name.

    The Host header counts as much as the peer: a page elsewhere can make a name of its own resolve to
    127.0.0.1 (DNS rebinding), and a proxy on this machine brings the whole net in as a loopback peer.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    return _is_loopback(peer_address(request)) and (host == "localhost" or _is_loopback(host))


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def same_origin(request: web.Request) -> bool:
    """False when the browser says that another site made this request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()


def is_refresh(request: web.Request) -> bool:
    """True when the page refreshes a part of itself: nobody clicked."""
    return request.method == "GET" and request.headers.get("HX-Request") == "true"


def guest_cookie(request: web.Request) -> str | None:
    """The guest's random cookie, if it looks like one of ours."""
    value = request.cookies.get(GUEST_COOKIE, "")
    return value if len(value) == 43 else None


def new_guest_cookie() -> str:
    """A fresh random value of 43 characters."""
    return secrets.token_urlsafe(32)


def guest_token(cookie: str) -> str:
    """The form token that belongs to a guest's cookie; the cookie cannot be told from it."""
    return hashlib.sha256(f"tillbridge form {cookie}".encode()).hexdigest()


def same_token(sent: object, expected: str) -> bool:
    """Compare form tokens in constant time."""
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(), expected.encode())
