"""Faults: real parts are broken one by one, and the service keeps its promises.

Each test names its row of the fault matrix, which operators find in
`docs/reference/operations.md`. Rows about transient images are elsewhere: 9 and 26 in
`tests/storage/test_transient.py` and `test_transient_machine.py`, 19 and 25 in
`tests/server/test_connection.py` and `test_transient_images.py`.
"""
