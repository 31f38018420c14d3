"""The image and compose.yaml, built and run without a Docker engine.

Podman, buildah and crun from Debian do the work, in folders and namespaces
that end with whoever made them. No registry of images is needed: Debian's
packages stand in for the base image, Redis, nginx, and the MinIO that the
tests have for the object store.
"""
