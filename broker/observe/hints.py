"""What to do about each warning and error: shown with it, and in docs/logs.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HINTS: Final[Mapping[str, str]] = {
    # the mesh
    "manifest": "correct the manifests; cemesh check says the same",
    "change refused": "correct what the lines before tell, or put the old files back",
    "change not taken up": "see to what why says; nothing else is to be done",
    "change not audited": "make the file writable; the line is in the log",
    "attempts broken off": "give --drain-timeout longer than subscribers take",
    "trigger interrupted": "see to the channel",
    "trigger failed": "report it with the traceback",
    "trigger not taken off its channel": "see to the channel, and start the mesh again",
    "pause of trigger not stored yet": "see to the channel",
    "announcement not stored yet": "see to the channel",
    "announcement lost": "see to the channel; look at the trigger by cemesh status",
    "sink not left": "see the traceback; it is the plug-in's",
    "watching failed": "report it with the traceback",
    "stories begun anew": "nothing; no event is in it. Look at the disk",
    "stories not kept": "make room on the disk, or see to what why says",
    # certificates
    "certificate not taken up": "see why; the former one is shown until the files are right",
    "certificate expired": "renew it; no client takes it",
    "authorities not taken up": "see why; the former ones are trusted until the file is right",
    # traces
    "traces not taken, and dropped until they are": (
        "see to the collector, and to OTEL_EXPORTER_OTLP_ENDPOINT"
    ),
    "traces taken again": "nothing",
    "traces dropped, as more come than can be sent": (
        "sample fewer (OTEL_TRACES_SAMPLER), or let more wait (OTEL_BSP_MAX_QUEUE_SIZE)"
    ),
    # taking events
    "event not taken": "report it with the traceback",
    "request not taken": "see the traceback; it is the source's",
    "no connection can be accepted": "raise its limit of open files (ulimit -n)",
    # delivering events
    "dead-lettered": "mend the subscriber, then cemesh deadletters redrive",
    "event parked": "mend what refused it, then cemesh parked retry, or skip",
    "trigger paused": "mend the subscriber, then cemesh resume, or wait until it is probed",
    "trigger probed": "mend the subscriber",
    "sink raised": "see the traceback; it is the plug-in's",
    "destination not allowed": "allow it by --allow-destination, if deliveries may lead there",
    "not renewed": "see to who grants it",
    "trigger takes in nothing new": "see cemesh parked list TRIGGER, or to the dead-letter sink",
    "unfinished line removed": "nothing",
    "job not removed": "delete it, or make the folder writable",
    # sources
    "source interrupted": "see to what it reads from",
    "source failed": "see the traceback; it is the source's",
    "source unhealthy": "see to what why names; it goes on by itself",
    "source does not end": "start the mesh again; the source has to heed cancellation",
    "source failed as it ended": "see why; it is the source's",
    "rejected": "see cemesh deadletters show; mend who sent it",
    "event refused": "mend the program",
    "file begins anew": "nothing, if that was meant",
    "file gone": "rotate it later, or by renaming",
    "session lost": "have the server keep sessions longer",
    "messages of QoS 0 dropped": "have them sent with QoS 1",
    "group made again": "let nobody delete it",
    "entries were deleted unread": "have the stream keep more",
    "too many objects to keep": "watch fewer, by namespace or label",
    "pings missed": "set catchUp, if they are to be made up for",
    "ping refused": "see to the channel",
    "ping given up": "see to the channel",
    # several processes
    "worker ended": "see what it has printed; is there memory enough?",
    "worker cannot start": "see to what why says",
    "worker killed, as it did not stop": "give --drain-timeout longer than subscribers take",
    # Kubernetes
    "waiting for the cluster": "see to what why says; nothing runs before all of it is known",
    "cluster not followed": "see to what why says; all goes on as it was",
    "kind is no longer served": "put its CustomResourceDefinition back; its objects run on",
    "lease not had": "see why; no status is written until it is had",
    "lease lost": "nothing, unless it comes again and again; then see to the API server",
    "deployment refused": "grant what why names, or correct the source's template",
    "status not written": "grant what why names, or see to what it says; it is tried again",
    "statuses failed": "a fault of cemesh: please report it, with what the log says; it goes on",
    "statuses not written": "see to the API server; it goes on by itself",
    # all channels
    "cannot store": "see to the channel's store; it goes on by itself",
    "cannot read": "see to the channel's store; it goes on by itself",
    "events are gone: the retention removed them undelivered": (
        "keep them longer, and have the trigger deliver faster"
    ),
    "dead letter not readable": "let nobody else write there",
    # the embedded channel
    "cannot trim": "see to the disk",
    "cursors not stored": "see to the disk before the next start",
    # Kafka
    "kafka unreachable": "see to Kafka, and to the network between",
    "cannot follow": "see to Kafka; it goes on by itself",
    "places not stored": "see to Kafka; it goes on by itself",
    "cannot take over": "see to Kafka; it goes on by itself",
    "not in the group": "see to Kafka, and to the rights on the group",
    "partition taken over by another process": "give it more of the processor, or more processes",
    "partitions left as they were stored last": "see to Kafka",
    "events are gone: the topic's retention removed them unread": (
        "have the topic keep them longer; run dispatchers at all times"
    ),
    "events are gone: their log ends before them": "see to its replicas and min.insync.replicas",
    "state not readable": "let nobody else write there",
    "state not written again": "see to Kafka",
    "record buried": "mend who wrote it",
    "not removed from the topics of delays": "allow DeleteRecords on them",
    "what was to stop has failed": "see the traceback",
    # RabbitMQ
    "rabbitmq unreachable": "see to RabbitMQ, and to the network between",
    "rabbitmq connection lost": "see to RabbitMQ, if it comes again and again",
    "cannot use rabbitmq": "see why: often rights, or a policy",
    "cannot consume": "see to RabbitMQ; it goes on by itself",
    "cannot settle": "see to RabbitMQ; it goes on by itself",
    "cannot count": "see to RabbitMQ; it goes on by itself",
    "cannot tell counts": "see to RabbitMQ; it goes on by itself",
    "cannot tell what was settled": "see to RabbitMQ; it goes on by itself",
    "cannot store what was settled": "see to RabbitMQ; it goes on by itself",
    "steward held up": "see to RabbitMQ; it goes on by itself",
    "checkpoint not readable": "let nobody else write to that stream",
    "dead letters are gone": "let nobody delete it",
    "queue was deleted": "let nobody delete it",
    "queue was gone and is filled again": "let nobody delete it",
    "trigger was removed by another process": "give all processes the same manifests",
    "server took event out of queue": "change the policy",
    "delivery limit reached, event goes back": "raise or remove the delivery limit of the policy",
    "stream has other limits": "nothing, if a policy is meant to; else delete the stream",
    "stream was deleted and is made again": "let nobody delete it",
    "message in the state is passed over: it is no entry": "let nobody else write there",
    "state not known": "keep the stream longer; let nobody delete from it",
    "exchange or stream is gone and is made again": "let nobody delete them",
    "message not received": "report it with the traceback",
}
"""Message → what to do."""
