"""The mesh itself: events in, triggers matched, deliveries made, and the books kept.

Reading order along the data path: ``ingress`` → ``codecs`` → ``channels`` → ``dispatcher``.
"""
