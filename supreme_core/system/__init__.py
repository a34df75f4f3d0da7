"""What the operating system gives or takes: files, ports, faults of devices, the end of a command."""
