"""HTTP and HTTPS: the sink for subscribers, and the client under it."""

from sinks.http.address import ANYWHERE, InvalidUrl, Route
from sinks.http.client import HttpClient
from sinks.http.reader import NoAnswer, Response
from sinks.http.sinks import HttpSinks

__all__ = ["ANYWHERE", "HttpClient", "HttpSinks", "InvalidUrl", "NoAnswer", "Response", "Route"]
