"""Where events come from: each source runs until it is cancelled and emits."""
