"""The daemon as a process: its loop, its start and stop, its health, its metrics."""
