"""What a broker's ConfigMap and Secret, and the URL of ``--channel``, say to the Kafka channel.

The keys are those of Knative's broker for Apache Kafka.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict
from urllib.parse import parse_qsl, urlsplit

from broker.channels.kafka.names import GROUP, TOPIC, filled, template_fault, topic_fault
from broker.channels.kafka.security import Security, read_security
from broker.errors import CemeshError, did_you_mean
from broker.ports import Fault
from broker.trigger import EXTERNAL_TOPIC, SECRET_NAME, SECRET_NAMESPACE

SERVERS: Final = "bootstrap.servers"
PARTITIONS: Final = "default.topic.partitions"
REPLICATION: Final = "default.topic.replication.factor"
TOPIC_CONFIG: Final = "default.topic.config."
TOPIC_TEMPLATE: Final = "brokers.topic.template"
GROUP_TEMPLATE: Final = "triggers.consumergroup.template"

_IN_A_URL: Final = frozenset({PARTITIONS, REPLICATION, TOPIC_TEMPLATE, GROUP_TEMPLATE})
_KNOWN: Final = _IN_A_URL | {SERVERS, SECRET_NAME, SECRET_NAMESPACE, EXTERNAL_TOPIC}
# What Knative's own ConfigMaps have beside them, for its controllers or other classes of broker.
_PASSED_OVER: Final = frozenset(
    {
        "_example",
        "channel-template-spec",
        "channelTemplateSpec",
        "channels.topic.template",
        "controller.autoscaler",
        "dispatcher.ordered-executor-metrics",
        "dispatcher.rate-limiter",
    }
)
_SERVER: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")
_INT16, _INT32, _LAST_PORT = (1 << 15) - 1, (1 << 31) - 1, (1 << 16) - 1
_LONGEST_SUFFIX: Final = "-delay-1024000ms"
_NOT_A_URL: Final = "is not of the form kafka://HOST:PORT,HOST:PORT?KEY=VALUE"

_Wrong = Callable[[str, str], None]


class ClientOptions(TypedDict):
    """The options by which every client of aiokafka connects."""

    bootstrap_servers: list[str]
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one broker uses Kafka.

    ``topic`` is made, with the ``topic_config``, if there is none of that name, unless it is
    ``external``: then it has to be there. The names of the broker's other topics begin with
    ``base``. ``group`` is the consumer group in which dispatchers share the topic.
    """

    bootstrap_servers: tuple[str, ...]
    topic: str
    base: str
    group: str
    external: bool = False
    partitions: int = 10
    replication_factor: int = 3
    topic_config: Mapping[str, str] = field(default_factory=dict)
    security: Security = field(default_factory=Security)

    def client_options(self) -> ClientOptions:
        """Return how to connect. Blocks, up to 0.1 s, the first time for a set of certificates."""
        security = self.security
        return ClientOptions(
            bootstrap_servers=list(self.bootstrap_servers),
            security_protocol=security.protocol,
            ssl_context=security.context(),
            sasl_mechanism=security.mechanism,
            sasl_plain_username=security.user,
            sasl_plain_password=security.password,
        )


def settings(
    broker: str,
    config: Mapping[str, str],
    secret: Mapping[str, str],
    *,
    defaults: Mapping[str, str],
) -> Settings:
    """Return the settings of the broker ``namespace/name``.

    What its ConfigMap's ``config`` lacks is taken from ``defaults``, as `from_url` returns
    them. Raises `CemeshError` with everything that is wrong.
    """
    faults: list[Fault] = []
    found = _read(broker, {**defaults, **config}, secret, faults.append)
    if SERVERS not in config and SERVERS not in defaults:
        message = "is missing, and --channel kafka://HOST:PORT does not stand in for it"
        faults.append(_fault(SERVERS, message))
    errors = [str(fault) for fault in faults if fault.severity == "error"]
    if errors:
        raise CemeshError(f"broker {broker}: {'; '.join(errors)}")
    return found


def check(broker: str, config: Mapping[str, str], secret: Mapping[str, str]) -> Sequence[Fault]:
    """Return what is wrong with the ConfigMap and the Secret of the broker ``namespace/name``.

    Servers that are missing are not: ``--channel`` may name them.
    """
    faults: list[Fault] = []
    _read(broker, config, secret, faults.append)
    return faults


def from_url(url: str) -> Mapping[str, str]:
    """Return what ``kafka://HOST:PORT,HOST:PORT?KEY=VALUE&…`` says, as a ConfigMap would say it.

    The keys are those of topics and names. Raises `CemeshError`.
    """
    try:
        parts = urlsplit(url)
        said = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise CemeshError(f"--channel: {_NOT_A_URL}") from None
    if "@" in parts.netloc:
        raise CemeshError(
            "--channel: no user and no password can stand in the URL, which others on this "
            f"machine can see; put them into a Secret, and its name into '{SECRET_NAME}' of the "
            "broker's ConfigMap"
        )
    if parts.path not in ("", "/") or parts.fragment:
        raise CemeshError(f"--channel: {_NOT_A_URL}")
    faults = [_fault(key, "cannot stand in a URL") for key, _ in said if key in _KNOWN - _IN_A_URL]
    config = dict(said)
    if parts.netloc:
        config[SERVERS] = parts.netloc
    faults += check("any/broker", config, {})
    if faults:
        raise CemeshError(
            f"--channel: {'; '.join(f'{fault.key}: {fault.message}' for fault in faults)}"
        )
    return config


def _read(
    broker: str, config: Mapping[str, str], secret: Mapping[str, str], tell: Callable[[Fault], None]
) -> Settings:
    """Return what is said, and tell what is wrong, for which something else is in the result."""

    def wrong(key: str, message: str) -> None:
        tell(_fault(key, message))

    for key in config:
        if key not in _KNOWN | _PASSED_OVER and not key.startswith(TOPIC_CONFIG):
            wrong(key, f"unknown key{did_you_mean(key, sorted(_KNOWN))}")
    group_template = config.get(GROUP_TEMPLATE, GROUP)
    fault = template_fault(group_template)
    if fault is not None:
        wrong(GROUP_TEMPLATE, fault)
    base = _base(broker, config, wrong)
    return Settings(
        bootstrap_servers=_servers(config, wrong),
        topic=_external(config, wrong) or base,
        base=base,
        group=filled(group_template, broker),
        external=EXTERNAL_TOPIC in config,
        partitions=_number(config, PARTITIONS, 10, _INT32, wrong),
        replication_factor=_number(config, REPLICATION, 3, _INT16, wrong),
        topic_config=_topic_config(config, wrong),
        security=read_security(secret, tell) if SECRET_NAME in config else Security(),
    )


def _servers(config: Mapping[str, str], wrong: _Wrong) -> tuple[str, ...]:
    text = config.get(SERVERS)
    if text is None:
        return ()
    servers = [each.strip(" \t\r\n") for each in text.split(",")]
    servers = [each for each in servers if each]
    if not servers:
        wrong(SERVERS, "names no server")
    misfits = [repr(each) for each in servers if not _is_server(each)]
    if misfits:
        wrong(SERVERS, f"{', '.join(misfits)}: not of the form HOST:PORT, with a port up to 65535")
    return tuple(servers)


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    return match is not None and 1 <= int(match[1]) <= _LAST_PORT


def _external(config: Mapping[str, str], wrong: _Wrong) -> str | None:
    external = config.get(EXTERNAL_TOPIC)
    fault = None if external is None else topic_fault(external)
    if fault is not None:
        wrong(EXTERNAL_TOPIC, fault)
    return external


def _base(broker: str, config: Mapping[str, str], wrong: _Wrong) -> str:
    template = config.get(TOPIC_TEMPLATE, TOPIC)
    base = filled(template, broker)
    fault = template_fault(template) or topic_fault(base + _LONGEST_SUFFIX)
    if fault is not None:
        wrong(TOPIC_TEMPLATE, fault)
    return base


def _number(config: Mapping[str, str], key: str, default: int, most: int, wrong: _Wrong) -> int:
    text = config.get(key)
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= most:
        wrong(key, f"{text!r} is not a whole number from 1 to {most}")
        return default
    return int(text)


def _topic_config(config: Mapping[str, str], wrong: _Wrong) -> Mapping[str, str]:
    found = {
        key.removeprefix(TOPIC_CONFIG): value
        for key, value in config.items()
        if key.startswith(TOPIC_CONFIG)
    }
    if "" in found:
        wrong(TOPIC_CONFIG, "names no configuration of a topic")
    if "compact" in found.get("cleanup.policy", ""):
        # Kafka would keep one event for each partition key, and refuse those that have none.
        wrong(f"{TOPIC_CONFIG}cleanup.policy", "'compact' would lose events; use 'delete'")
    return found


def _fault(key: str, message: str) -> Fault:
    return Fault(of="config", key=key, message=message)
