"""How good an artifact is on data that it was not fitted to."""
