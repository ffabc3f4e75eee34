"""What a broker's configuration, its Secret and the URL of ``--channel`` say to the channel.

The configuration is the ``spec`` of a RabbitmqBrokerConfig of Knative's, or a ConfigMap with the
same keys. A broker whose own configuration names no server is at that of ``--channel``. What one
server is told of users and passwords, no other server gets to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import parse_qsl

from broker.channels.rabbitmq.security import Security, read_address, read_security
from broker.channels.secrets import SecretReader
from broker.connections.rabbitmq.address import NOT_A_URL, Address, parse_address, vhost_fault
from broker.connections.rabbitmq.server import ClientOptions, Fields, url_of
from broker.errors import CemeshError, did_you_mean
from broker.ports import Fault
from broker.trigger import SECRET_NAME, SECRET_NAMESPACE

QueueType = Literal["quorum", "classic"]

URL: Final = "url"
VHOST: Final = "vhost"
QUEUE_TYPE: Final = "queueType"

_IN_A_URL: Final = frozenset({QUEUE_TYPE})
_KNOWN: Final = frozenset({URL, VHOST, QUEUE_TYPE, SECRET_NAME, SECRET_NAMESPACE})
_PASSED_OVER: Final = frozenset({"_example"})
_QUEUE_TYPES: Final[Mapping[str, QueueType]] = {"quorum": "quorum", "classic": "classic"}
_NOBODY: Final = "guest"  # whom a server lets in from its own host, as long as nobody changed it

_FIELDS: Final = Fields(
    login="in the Secret or in --channel",
    authority="'ca.crt' in the Secret",
    certificate="'tls.crt' in the Secret",
    pair="'tls.crt' and 'tls.key' in the Secret",
)

_Wrong = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What ``--channel`` says for every broker that does not say it itself."""

    address: Address | None = None
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one broker uses RabbitMQ."""

    host: str
    port: int
    tls: bool
    vhost: str
    queue_type: QueueType = "quorum"
    security: Security = field(default_factory=Security)

    @property
    def server(self) -> str:
        """How errors call the server: ``HOST:PORT``."""
        return f"{self.host}:{self.port}"

    @property
    def fields(self) -> Fields:
        """How errors call what is to be looked at."""
        return _FIELDS

    @property
    def user(self) -> str | None:
        """As whom to come, or None: by a certificate alone, if there is one and no user."""
        security = self.security
        return security.user or (_NOBODY if security.certificate is None else None)

    def client_options(self) -> ClientOptions:
        """Return how to connect. Blocks, up to 0.1 s, the first time for a set of certificates."""
        return ClientOptions(
            url=url_of(self, self.security.password),
            ssl_context=self.security.context() if self.tls else None,
        )


def settings(
    broker: str, config: Mapping[str, str], secret: Mapping[str, str], *, defaults: Defaults
) -> Settings:
    """Return the settings of the broker ``namespace/name``.

    What its ``config`` lacks is taken from ``defaults``, as `from_url` returns them. Raises
    `CemeshError` with everything that is wrong.
    """
    faults: list[Fault] = []
    found = _read(config, secret, defaults, faults.append)
    errors = [str(fault) for fault in faults if fault.severity == "error"]
    if errors:
        raise CemeshError(f"broker {broker}: {'; '.join(errors)}")
    if found is None:
        raise CemeshError(
            f"broker {broker}: no server is named: neither by '{URL}' in its ConfigMap, nor by "
            "'host' in its Secret, nor by --channel amqp://HOST"
        )
    return found


def check(config: Mapping[str, str], secret: Mapping[str, str]) -> Sequence[Fault]:
    """Return what is wrong with a broker's configuration and its Secret.

    A server that is missing is not: ``--channel`` may name it.
    """
    faults: list[Fault] = []
    _read(config, secret, Defaults(), faults.append)
    return faults


def from_url(url: str) -> Defaults:
    """Return what ``amqp://USER:PASSWORD@HOST:PORT/VHOST?KEY=VALUE&…`` says.

    The one key is ``queueType``. Raises `CemeshError`, which shows nothing of the URL.
    """
    start, _, query = url.partition("?")
    try:
        config = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        config = {"": query}
    if "" in config or "@" in query:  # a password may have a question mark in it
        raise CemeshError(
            f"--channel: {NOT_A_URL}; what is special in a password is written as %XX"
        )
    unknown = sorted(config.keys() - _IN_A_URL)
    faults = [f"{key}: cannot stand in a URL{did_you_mean(key, _IN_A_URL)}" for key in unknown]
    kept = {key: value for key, value in config.items() if key in _IN_A_URL}
    faults += [f"{fault.key}: {fault.message}" for fault in check(kept, {})]
    address = None
    _, _, rest = start.partition(":")
    if rest.strip("/"):
        try:
            address = parse_address(start)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise CemeshError(f"--channel: {'; '.join(faults)}")
    return Defaults(address=address, config=config)


def _read(
    config: Mapping[str, str],
    secret: Mapping[str, str],
    defaults: Defaults,
    tell: Callable[[Fault], None],
) -> Settings | None:
    """Return what is said, or None where no server is, and tell what is wrong.

    For what is wrong, something else is in the result.
    """

    def wrong(key: str, message: str) -> None:
        tell(Fault(of="config", key=key, message=message))

    for key in config:
        if key not in _KNOWN | _PASSED_OVER:
            wrong(key, f"unknown key{did_you_mean(key, sorted(_KNOWN))}")
    own = _own_address(config, wrong)
    reading = SecretReader(secret, tell)
    of_secret = read_address(reading) if SECRET_NAME in config and URL not in config else None
    address = own or of_secret or defaults.address
    security = Security()
    if SECRET_NAME in config:
        tls = None if address is None else address.tls
        security = read_security(reading, of_secret, tls=tls)
    vhost = _vhost(config, wrong)
    queue_type = _queue_type({**defaults.config, **config}, wrong)
    if address is None:
        return None
    if security.user is None and security.certificate is None:
        security = replace(security, user=address.user, password=address.password)
    return Settings(
        host=address.host,
        port=address.port,
        tls=address.tls,
        vhost=vhost or address.vhost or "/",
        queue_type=queue_type,
        security=security,
    )


def _own_address(config: Mapping[str, str], wrong: _Wrong) -> Address | None:
    if URL not in config:
        return None
    try:
        address = parse_address(config[URL])
    except ValueError as error:
        wrong(URL, str(error))
        return None
    if address.user is not None:
        wrong(URL, f"has a password in it; it belongs in a Secret, named in '{SECRET_NAME}'")
    return address


def _vhost(config: Mapping[str, str], wrong: _Wrong) -> str | None:
    name = config.get(VHOST)
    fault = vhost_fault(name) if name else None
    if fault is not None:
        wrong(VHOST, fault)
    return name


def _queue_type(config: Mapping[str, str], wrong: _Wrong) -> QueueType:
    text = config.get(QUEUE_TYPE, "quorum")
    if text not in _QUEUE_TYPES:
        hint = did_you_mean(text, _QUEUE_TYPES)
        wrong(QUEUE_TYPE, f"{text!r} is neither 'quorum' nor 'classic'{hint}")
        return "quorum"
    return _QUEUE_TYPES[text]
