"""Speed, measured: `python -m benchmarks` starts what it needs and prints ratios.

Absolute figures move from machine to machine; ratios measured in one run, in
alternating rounds, mostly do not. The server under measurement has a core of
its own; Redis, MinIO and the load share the other one. `rows/` has one
function for each row of the table, `peers/` what people would use instead.
"""
