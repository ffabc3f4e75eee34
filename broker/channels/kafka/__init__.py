"""The Kafka channel: a topic for each broker.

``settings`` reads what a broker's ConfigMap says, ``security`` and ``tls`` what its Secret does.
"""
