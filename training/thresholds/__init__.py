"""Choosing a threshold: from scores of normal windows to a threshold, and to its cost in false alarms.

Rules of this package: NumPy and SciPy only, no files and no models. Scores come from the daemon's own scorer, and an
incident is what `monitor.detector.incidents.step` makes of them. Nothing abnormal is seen, but by the method "oracle".
"""
