"""The shared, pure core: how windows are cut, scaled, scored and decided on. Higher score = more anomalous.

The daemon defines what a score means; the trainer is a client that calibrates with the daemon's own scorer. Nothing in
here knows of Kafka, clocks, logging or the environment.
"""
