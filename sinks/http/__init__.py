"""HTTP and HTTPS: the sink for subscribers, and the client under it."""

from sinks.http.address import InvalidUrl
from sinks.http.client import HttpClient
from sinks.http.reader import NoAnswer, Response
from sinks.http.sink import HttpSinks

__all__ = ["HttpClient", "HttpSinks", "InvalidUrl", "NoAnswer", "Response"]
