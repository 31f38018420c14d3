"""The context of a request: its id, its route, the further headers of its answer."""

from __future__ import annotations

import re
import secrets
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import istr

from app.http.cors import Cors
from app.http.picture_headers import lines
from app.telemetry.series import UNMATCHED

if TYPE_CHECKING:
    from collections.abc import Mapping

# A handler's own headers that are to stand on an error of its request, too.
ERROR_HEADERS = web.RequestKey("error_headers", dict[str, str])

# Whether an error of the request is to be answered as a picture.
ERROR_AS_PICTURE = web.RequestKey("error_as_picture", bool)

# Further headers of every answer to the request, an error as well.
MORE_HEADERS = web.RequestKey("more_headers", dict[str, str])
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

CORS = web.AppKey("cors", Cors)

X_REQUEST_ID = istr("X-Request-Id")
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Unique without asking the kernel for entropy at every request.
_process = secrets.token_hex(8)
_numbers = count(1)


def more_lines(request: web.Request) -> bytes:
    """Return as lines what a raw answer with a picture has from its request."""
    own = request.app[CORS].part(request.headers).lines
    more = request.get(MORE_HEADERS)
    return own + lines(more) if more else own


def new_request_id() -> str:
    """Return an id that no other request of any replica has."""
    return f"{_process}-{next(_numbers):x}"


def request_id_of(request: web.BaseRequest) -> str:
    """Return the request's own id where it is well-formed, else a new one."""
    own = request.headers.get(X_REQUEST_ID)
    if own is not None and _REQUEST_ID_FORM.fullmatch(own):
        return own
    return new_request_id()


def route_of(request: web.Request) -> str:
    """Return the template of the route that matched, else `unmatched`."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical
