"""Which Origin a client may name: a browser names the page it shows, some other clients the server they call."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def is_allowed(origin: str | None, host: str | None, allowed: Collection[str] = ()) -> bool:
    """No origin, one of `allowed`, or the server's own address as in the `Host` header.

    The own address counts only as a number or localhost: any name can be made to point at this machine by the owner
    of a web page, so that a browser would name it here.
    """
    if origin is None or origin in allowed:
        return True
    try:
        name = urlsplit(origin).hostname
    except ValueError:
        return False
    return host is not None and origin == f"http://{host}" and (name == "localhost" or _is_number(name))


def _is_number(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True
