"""Where events are kept: one module or folder a backend; none knows another."""
