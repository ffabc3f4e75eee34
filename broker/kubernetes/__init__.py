"""The mesh's objects in a Kubernetes cluster: what runs is read there, and told there.

Reading order: ``mirrors`` → ``kinds`` → ``addresses`` → ``referred`` → ``cluster`` →
``statuses``, and of that ``conditions`` → ``views`` → ``fates`` → ``writing`` → ``leases`` →
``containers`` → ``pods``.
"""
