"""One mesh in several processes: the first, which the user started, and its workers.

Each has a shard of the embedded channel, all of its own: it stores what comes in over its
connections, and delivers that. Read it in this order: ``link`` (what two processes say to each
other), ``process`` and ``worker`` (one of them, and how it is kept running), ``connections``
(who gets which of the producers), ``archive`` and ``gathered`` (all of them, as the operator sees
them). What a worker leaves to the first one is in `broker.channels.shard`, and what it runs in
`broker.app.worker`.
"""
