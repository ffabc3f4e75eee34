"""Connections to other systems, which sources of and sinks into one of them share."""
