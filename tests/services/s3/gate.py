"""A gate before an S3 server, which denies requests where that would not, as S3 does.

    async with Gate(listeners, lambda request: "AccessDenied") as gate:
        ...  # at gate.url nothing is allowed

S3Proxy knows no policies, no regions, and fewer limits than S3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from aiohttp import ClientSession, hdrs
from aiohttp.test_utils import RawTestServer
from aiohttp.web import BaseRequest, Response
from yarl import URL

from tests.services.mesh import HOST
from tests.services.s3.server import Listeners

_STATUS: Final = {"AccessDenied": 403, "SlowDown": 503}


class Gate:
    """Denies, while it is entered, what ``denies`` returns a code for, and passes all else on."""

    def __init__(self, to: Listeners, denies: Callable[[BaseRequest], str | None]) -> None:
        self._to = to
        self._denies = denies
        self._server = RawTestServer(self._answer, host=HOST)

    async def __aenter__(self) -> Self:
        self._session = ClientSession(skip_auto_headers=["Content-Type"], auto_decompress=False)
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()
        await self._session.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.port}"

    async def _answer(self, request: BaseRequest) -> Response:
        code = self._denies(request)
        if code is not None:
            text = f"<Error><Code>{code}</Code><Message>Denied</Message></Error>"
            return Response(status=_STATUS.get(code, 400), text=text)
        url = URL(f"{self._to.url}{request.raw_path}", encoded=True)
        body = await request.read() or None
        asked = self._session.request(request.method, url, headers=request.headers, data=body)
        async with asked as answer:
            headers = answer.headers.copy()
            headers.popall(hdrs.TRANSFER_ENCODING, None)
            return Response(status=answer.status, headers=headers, body=await answer.read())
