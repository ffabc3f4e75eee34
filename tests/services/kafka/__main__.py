"""Runs a Kafka to play with until it is interrupted; its data are there the next time."""

from __future__ import annotations

import argparse
import contextlib
import sys

from tests.services.kafka.archive import archived
from tests.services.kafka.distribution import KEPT, find, version
from tests.services.kafka.fixtures import GIVEN
from tests.services.kafka.server import KafkaServer
from tests.services.kafka.settings import PASSWORD, PORTS, SASL_MECHANISMS, USER
from tests.services.mesh import HOST
from tests.services.missing import Missing
from tests.services.server import listened_to

_ABOUT = """\
Apache Kafka {version} answers at {address}. Ctrl-C stops it; its data stay in {folder}.

  plaintext       {listeners.plaintext}
  SASL_PLAINTEXT  {listeners.sasl_plaintext}  user {user}, password {password}: {mechanisms}
  SASL_SSL        {listeners.sasl_ssl}  the same
  SSL             {listeners.ssl}  its authority is {listeners.authority}
  mutual TLS      {listeners.mtls}  a client it knows is {listeners.client}

Topics have to be created; `{given}={address} make test` tests against it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="the first of six that it takes")
    port: int = parser.parse_args().port
    sys.stdout.write("Starting Apache Kafka; the first time, it is fetched\n")
    distribution = archived(find())
    if isinstance(distribution, Missing):
        sys.exit(distribution.reason)
    for each in range(port, port + PORTS):
        if listened_to(f"{HOST}:{each}"):
            sys.exit(
                f"port {each} is taken; `make kafka PORT=…` takes another, and {PORTS - 1} more"
            )
    folder = KEPT / "played-with"
    server = KafkaServer(folder, distribution, first_port=port)
    with contextlib.suppress(KeyboardInterrupt), server:
        about = _ABOUT.format(
            version=version(),
            address=server.address,
            folder=folder,
            listeners=server.listeners,
            user=USER,
            password=PASSWORD,
            mechanisms=", ".join(SASL_MECHANISMS),
            given=GIVEN,
        )
        sys.stdout.write(about)
        sys.stdout.flush()
        sys.exit(f"Kafka ended with {server.wait()}: see {server.listeners.log}")


if __name__ == "__main__":
    main()
