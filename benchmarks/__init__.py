"""Benchmarks: `python -m benchmarks` starts real servers and prints ratios.

Absolute figures move from machine to machine. Ratios measured in one run, in
alternating rounds, mostly do not. The server under measurement has a core of its own;
Redis, MinIO and the load share the other one. `rows/` has one function for each row of
the table, `peers/` the alternatives to the service.
"""
