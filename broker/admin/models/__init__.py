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
from broker.admin.models.sending import SentDocument
from broker.admin.models.status import (
    BrokerDocument,
    ManifestProblem,
    Ready,
    SourceDocument,
    StatusDocument,
    TriggerDocument,
    WorkerDocument,
)
from broker.admin.models.stories import (
    AcceptedDocument,
    AttemptDocument,
    DecisionDocument,
    EventName,
    OriginDocument,
    StoriesDocument,
    StoryDocument,
    StoryPage,
    StorySummary,
    TriggerOutcome,
    TriggerStoryDocument,
    steps_of,
)

__all__ = [
    "USER_HEADER",
    "AcceptedDocument",
    "AttemptDocument",
    "BrokerDocument",
    "ClauseDocument",
    "DeadLetterDocument",
    "DeadLetterPage",
    "DeadLetterSummary",
    "DecisionDocument",
    "DeliveryDocument",
    "EventName",
    "EventSummary",
    "EventsPage",
    "ExplanationDocument",
    "LogDocument",
    "LogRequest",
    "ManifestProblem",
    "OriginDocument",
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
    "SentDocument",
    "SourceDocument",
    "StatusDocument",
    "StoredDocument",
    "StoriesDocument",
    "StoryDocument",
    "StoryPage",
    "StorySummary",
    "TriggerDocument",
    "TriggerExplanation",
    "TriggerFilters",
    "TriggerOutcome",
    "TriggerStoryDocument",
    "TriggersDocument",
    "WaitDocument",
    "WorkerDocument",
    "steps_of",
]
