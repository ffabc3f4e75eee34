"""Runs a RabbitMQ to play with until it is interrupted; its data are there the next time."""

from __future__ import annotations

import argparse
import contextlib
import sys

from tests.services.mesh import HOST
from tests.services.missing import Missing
from tests.services.rabbitmq.distribution import KEPT, find
from tests.services.rabbitmq.fixtures import GIVEN
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.rabbitmq.settings import PASSWORD, PORTS, USER
from tests.services.server import listened_to

_ABOUT = """\
RabbitMQ {version} answers at {url}
Ctrl-C stops it; its data stay in {folder}.

  AMQP        {listeners.amqp}  user {user}, password {password}
  AMQPS       {listeners.amqps}  the same; its authority is {listeners.authority}
  mutual TLS  {listeners.mtls}  a client it knows, by EXTERNAL too, is {listeners.client}
  management  http://{listeners.management}  the same user

`{given}={url} make test` tests against it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make rabbitmq", description=__doc__)
    parser.add_argument("--port", type=int, default=5672, help=f"the first of {PORTS} it takes")
    port: int = parser.parse_args().port
    sys.stdout.write("Starting RabbitMQ; the first time, it is installed\n")
    distribution = find()
    if isinstance(distribution, Missing):
        sys.exit(distribution.reason)
    for each in range(port, port + PORTS):
        if listened_to(f"{HOST}:{each}"):
            more = f"`make rabbitmq PORT=…` takes another, and {PORTS - 1} more"
            sys.exit(f"port {each} is taken; {more}")
    folder = KEPT / "played-with"
    server = RabbitMQServer(folder, distribution, first_port=port)
    with contextlib.suppress(KeyboardInterrupt), server:
        about = _ABOUT.format(
            version=distribution.version,
            url=server.listeners.url(),
            folder=folder,
            listeners=server.listeners,
            user=USER,
            password=PASSWORD,
            given=GIVEN,
        )
        sys.stdout.write(about)
        sys.stdout.flush()
        sys.exit(f"RabbitMQ ended with {server.wait()}: see {server.listeners.log}")


if __name__ == "__main__":
    main()
