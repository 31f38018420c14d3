"""The image and compose.yaml, built and run without a Docker engine.

Podman, buildah and crun from Debian do the work, in folders and namespaces that are
removed with the process that made them. No image registry is needed: Debian's packages
stand in for the base image, Redis and nginx, and the tests' own MinIO for the object
store.
"""
