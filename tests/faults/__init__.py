"""Faults, injected for real and under load: processes killed, servers stopped, connections cut, disks filled.

`GRIDGATE_FAULT_MESSAGES` says how many messages each test sends (20,000 unless told otherwise).
"""
