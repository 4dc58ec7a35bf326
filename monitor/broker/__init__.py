"""The local broker: a real Apache Kafka that `telltale kafka` starts, watches and stops on this machine.

`LocalKafka` in `cluster.py` is the interface; everything it knows lies in its data directory, so that any other process
can ask or stop it.
"""
