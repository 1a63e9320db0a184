"""Fault injection under load: processes killed, servers stopped, connections cut, disks filled.

`GRIDGATE_FAULT_MESSAGES` is the number of messages of each test (default: 20,000).
"""
