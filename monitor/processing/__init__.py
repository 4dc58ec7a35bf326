"""The daemon's heart without I/O: records in, windows out, scores in, alerts and positions out."""
