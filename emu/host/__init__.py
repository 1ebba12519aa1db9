"""The host's side of a serial port: the only place that touches terminals, sockets and files.

`ends` says what an end is and opens one by name; `terminal`, `sockets` and `pty` are ends
with something to say of their own; `descriptors` is what they share.
"""
