"""A look-alike of the Kubernetes API that runs pods as processes of this machine, for the real client and operator.

Plain HTTP on loopback. There: discovery, create, read, update, delete, merge and JSON patches, selectors, watches,
owner references, finalizers, custom resources with validation and defaults, logs, port-forward; a controller of
deployments, nodes with capacities, selectors and taints, probes, preStop, secrets as variables, folders for volumes.

Not there: access rules (RBAC), TLS, pulling images, limits that hold, other volumes, network policies that hold.
"""
