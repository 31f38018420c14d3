"""Replicas over a Redis Cluster and over Sentinel, whole and with a primary killed."""
