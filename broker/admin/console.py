"""The console: the page at ``/`` of the admin port, and what it consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_PAGE: Final = "index.html"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The page shows what others have put into events. Should a piece of that ever be taken for markup,
# the browser still runs and fetches nothing that does not come from here.
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Console:
    """The routes of the console, whose files are read once."""

    def __init__(self) -> None:
        self._files = dict(_files(files("broker.admin") / "console"))

    def routes(self) -> Sequence[Route]:
        return [
            Route("/", self._page),
            Route("/console/{path:path}", self._file),
        ]

    async def _page(self, request: Request) -> Response:
        return self._sent(_PAGE, request)

    async def _file(self, request: Request) -> Response:
        return self._sent(request.path_params["path"], request)

    def _sent(self, path: str, request: Request) -> Response:
        found = self._files.get(path)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        content, headers = found
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers)


def _files(
    folder: Traversable, within: str = ""
) -> Iterator[tuple[str, tuple[bytes, Mapping[str, str]]]]:
    """Return each file by its path, with the headers that it is sent with."""
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files(each, f"{within}{each.name}/")
            continue
        kind = _TYPES.get(each.name[each.name.rfind(".") :])
        if kind is not None:
            content = each.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:20]}"'
            yield (
                f"{within}{each.name}",
                (content, {**_HEADERS, "Content-Type": kind, "ETag": etag}),
            )
