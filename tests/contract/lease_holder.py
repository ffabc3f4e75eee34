"""A process that works while it holds a Lease, and says so: ``KUBECONFIG NAME``."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from broker.connections.kubernetes.kubeconfig import by_kubeconfig, namespace_in
from broker.kubernetes.leases import Lease, Pace

PACE = Pace(
    lasts=timedelta(seconds=2),
    renews=timedelta(seconds=0.3),
    gives_up=timedelta(seconds=1),
    tries=timedelta(seconds=0.1),
)


def lease(kubeconfig: Path, name: str) -> Lease:
    access, namespace = by_kubeconfig(kubeconfig), namespace_in(kubeconfig)
    return Lease(access, namespace=namespace, name=name, pace=PACE)


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def _work() -> None:
    _say("begun")
    try:
        await asyncio.Event().wait()
    finally:
        _say("ended")


async def _main() -> None:
    held = asyncio.ensure_future(lease(Path(sys.argv[1]), sys.argv[2]).while_held(_work))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, held.cancel)
    with suppress(asyncio.CancelledError):
        await held


if __name__ == "__main__":
    asyncio.run(_main())
