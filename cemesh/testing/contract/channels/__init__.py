"""What every channel promises (`broker.ports.Channel`)."""

# ruff: noqa: F403  # a test is whatever a module names so
from cemesh.testing.contract.channels.appending import *
from cemesh.testing.contract.channels.books import *
from cemesh.testing.contract.channels.looking_on import *
from cemesh.testing.contract.channels.ordering import *
from cemesh.testing.contract.channels.outages import *
from cemesh.testing.contract.channels.pausing import *
from cemesh.testing.contract.channels.settling import *
from cemesh.testing.contract.channels.subscribing import *
