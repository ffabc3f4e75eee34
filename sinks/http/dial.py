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
from sinks.http.destinations import literal
from sinks.http.guard import refusal
from sinks.http.names import Names
from sinks.http.proxy import Tunnel, proxy_to
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
        self._proxy = proxy_to(origin.route.network, origin.host)

    async def connect(self, within: timedelta) -> Connection:
        """Return a connection to the first address that lets itself be connected.

        That is one of the name's, or where the route has a proxy for it, of the proxy's. Raises
        `NoAnswer`: where the guard of the route lets none of them be dialled, or for what the
        last one answered. A black hole among them leaves time for the others.
        """
        origin = self._origin
        context = None
        if origin.tls:
            route = origin.route
            of_all = route.network.ca_certs
            context = tls_context(
                None if of_all is None else of_all.pem,
                route.ca_certs,
                certificate=route.certificate,
            )
        addresses = await self._addresses()
        share = min(within / len(addresses), _LONGEST)
        failure = NoAnswer("the name has no address")
        for ip in addresses:
            try:
                async with asyncio.timeout(share.total_seconds()):
                    return await self._connected(ip, context)
            except TimeoutError:
                time = f"{share.total_seconds():g} s"
                failure = NoAnswer(f"no connection within {time}: {self.stage}")
            except OSError as error:
                failure = NoAnswer(self._reason(error))
        raise failure

    async def _addresses(self) -> Sequence[str]:
        """Return what may be dialled, at least one address."""
        host = self._origin.host
        if self._proxy is not None:
            # The operator named the proxy, wherever it is.
            if literal(host) is not None:
                self._let_in([host])
            return await self._names.addresses(self._proxy.host, self._proxy.port)
        return self._let_in(await self._names.addresses(host, self._origin.port))

    def _let_in(self, addresses: Sequence[str]) -> Sequence[str]:
        network = self._origin.route.network
        refusals = {ip: refusal(network, self._origin.host, ip) for ip in addresses}
        let_in = [ip for ip, why in refusals.items() if why is None]
        if not let_in:
            raise NoAnswer(next(why for why in refusals.values() if why is not None))
        return let_in

    async def _connected(self, ip: str, context: ssl.SSLContext | None) -> Connection:
        transport, connection = await self._dialled(ip)
        if context is None:
            return connection
        self.stage = f"shaking hands with {ip if self._proxy is None else self._origin.host}"
        secured = await asyncio.get_running_loop().start_tls(
            transport,
            connection,
            context,
            # As certificates have it, which know no dot at the end.
            server_hostname=self._origin.host.removesuffix("."),
        )
        connection.secure(secured)
        return connection

    async def _dialled(self, ip: str) -> tuple[asyncio.Transport, Connection]:
        loop, origin, proxy = asyncio.get_running_loop(), self._origin, self._proxy
        if proxy is None:
            self.stage = f"connecting to {ip}"
            return await loop.create_connection(partial(Connection, self._on_lost), ip, origin.port)
        self.stage = f"connecting to the proxy {ip}"
        transport, tunnel = await loop.create_connection(
            partial(Tunnel, proxy, origin.host, origin.port), ip, proxy.port
        )
        self.stage = "waiting for the proxy's tunnel"
        try:
            await tunnel.opened
            if transport.is_closing():
                raise NoAnswer("the proxy closed the connection")
        except BaseException:
            transport.abort()
            raise
        connection = Connection(self._on_lost)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return transport, connection

    def _reason(self, error: OSError) -> str:
        """Say in plain words why there is no connection."""
        match error:
            case ssl.SSLError():
                return tls_failure(error)
            case ConnectionRefusedError():
                return (
                    "connection refused" if self._proxy is None else "the proxy refused to connect"
                )
            case ConnectionResetError() | ConnectionAbortedError():
                return f"the connection was closed while {self.stage}"
            case _:
                return f"no connection: {error.strerror or error}"
