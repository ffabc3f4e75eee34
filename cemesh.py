"""The public face of cemesh: what plug-in authors import."""
