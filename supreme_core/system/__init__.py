"""Files, ports, faults of devices, the end of a command: what the operating system is asked for."""
