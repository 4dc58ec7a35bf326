"""Heartbeats out of a continuous electrocardiogram: where they are, windows about them, and what a series' own are."""
