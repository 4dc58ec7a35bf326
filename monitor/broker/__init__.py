"""The local broker: a real Apache Kafka that `telltale kafka` starts, watches and stops on this machine.

`LocalKafka` in `cluster.py` is the interface; all its state is in its data directory, so that any other process
can query or stop it.
"""
