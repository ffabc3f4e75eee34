"""How one event reaches one subscriber: attempts, verdicts, backoff, dead letters."""
