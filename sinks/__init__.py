"""Where events go: each sink makes one attempt and answers."""
