"""The checks of data quality: one file each, and what they share."""
