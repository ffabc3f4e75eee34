"""Makes a connection: looks the name up, asks the guard, dials, shakes hands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from sinks.http.address import Origin
from sinks.http.connection import Connection
from sinks.http.guard import guard_of
from sinks.http.names import Names
from sinks.http.reader import NoAnswer
from sinks.http.tls import tls_context, tls_failure

_LONGEST: Final = timedelta(seconds=10)
"""How long one address may take to connect and to shake hands, however long the attempt may.

One that does not respond by then will not, and holds a place of the trigger's parallelism.
"""


class Dial:
    """One way to one origin. ``stage`` says in words how far it has come."""

    def __init__(self, names: Names, origin: Origin, on_lost: Callable[[Connection], None]) -> None:
        self.stage = "looking up the name"
        self._names = names
        self._origin = origin
        self._on_lost = on_lost

    async def connect(self, within: timedelta) -> Connection:
        """Return a connection to the first of the name's addresses that lets itself be connected.

        Raises `NoAnswer`: where the guard of the route lets none of them be dialled, or for what
        the last one answered. A black hole among them leaves time for the others.
        """
        origin = self._origin
        context = None
        if origin.tls:
            context = tls_context(origin.route.ca_certs, origin.route.certificate)
        addresses = self._let_in(await self._names.addresses(origin.host, origin.port))
        share = min(within / len(addresses), _LONGEST)
        refusal = NoAnswer("the name has no address")
        for ip in addresses:
            try:
                async with asyncio.timeout(share.total_seconds()):
                    return await self._connected(ip, context)
            except TimeoutError:
                refusal = NoAnswer(
                    f"no connection within {share.total_seconds():g} s: {self.stage}"
                )
            except OSError as error:
                refusal = NoAnswer(self._reason(error))
        raise refusal

    def _let_in(self, addresses: Sequence[str]) -> Sequence[str]:
        guard = guard_of(self._origin.route.network)
        refusals = {ip: guard.refusal(self._origin.host, ip) for ip in addresses}
        let_in = [ip for ip, refusal in refusals.items() if refusal is None]
        if not let_in:
            raise NoAnswer(next(refusal for refusal in refusals.values() if refusal is not None))
        return let_in

    async def _connected(self, ip: str, context: ssl.SSLContext | None) -> Connection:
        loop = asyncio.get_running_loop()
        self.stage = f"connecting to {ip}"
        transport, connection = await loop.create_connection(
            partial(Connection, self._on_lost), ip, self._origin.port
        )
        if context is None:
            return connection
        self.stage = f"shaking hands with {ip}"
        try:
            secured = await loop.start_tls(
                transport,
                connection,
                context,
                # As certificates have it, which know no dot at the end.
                server_hostname=self._origin.host.removesuffix("."),
            )
        except BaseException:
            transport.abort()
            raise
        connection.secure(secured)
        return connection

    def _reason(self, error: OSError) -> str:
        """Say in plain words why there is no connection."""
        match error:
            case ssl.SSLError():
                return tls_failure(error)
            case ConnectionRefusedError():
                return "connection refused"
            case ConnectionResetError() | ConnectionAbortedError():
                return f"the connection was closed {self.stage}"
            case _:
                return f"no connection: {error.strerror or error}"
