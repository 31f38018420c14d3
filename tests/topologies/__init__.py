"""Replicas over a Redis Cluster and over Sentinel, also without a primary."""
