"""The API server of a Kubernetes cluster: what is there, lists, watches, and changes.

Reading order: ``access`` → ``kubeconfig`` → ``client`` → ``collections`` → ``refusals`` → ``api``
→ ``metadata`` → ``mirror`` → ``changing``.
"""
