"""The documents of the admin API. Both of its ends use them: the server and the command line."""

from broker.admin.models.base import USER_HEADER, ProblemDetails
from broker.admin.models.deadletters import (
    DeadLetterDocument,
    DeadLetterPage,
    DeadLetterSummary,
    EventSummary,
    RedrivenDocument,
    RedriveRequest,
    RefusalDocument,
    RefusalSummary,
)
from broker.admin.models.delivery import DeliveryDocument, WaitDocument
from broker.admin.models.events import (
    ClauseDocument,
    EventsPage,
    ExplanationDocument,
    StoredDocument,
    TriggerExplanation,
    TriggerFilters,
    TriggersDocument,
)
from broker.admin.models.logs import LogDocument, LogRequest
from broker.admin.models.parked import ParkedDocument, ParkedList, ParkedRequest
from broker.admin.models.pauses import PauseDocument, PauseRequest
from broker.admin.models.status import (
    BrokerDocument,
    ManifestProblem,
    Ready,
    SourceDocument,
    StatusDocument,
    TriggerDocument,
    WorkerDocument,
)

__all__ = [
    "USER_HEADER",
    "BrokerDocument",
    "ClauseDocument",
    "DeadLetterDocument",
    "DeadLetterPage",
    "DeadLetterSummary",
    "DeliveryDocument",
    "EventSummary",
    "EventsPage",
    "ExplanationDocument",
    "LogDocument",
    "LogRequest",
    "ManifestProblem",
    "ParkedDocument",
    "ParkedList",
    "ParkedRequest",
    "PauseDocument",
    "PauseRequest",
    "ProblemDetails",
    "Ready",
    "RedriveRequest",
    "RedrivenDocument",
    "RefusalDocument",
    "RefusalSummary",
    "SourceDocument",
    "StatusDocument",
    "StoredDocument",
    "TriggerDocument",
    "TriggerExplanation",
    "TriggerFilters",
    "TriggersDocument",
    "WaitDocument",
    "WorkerDocument",
]
