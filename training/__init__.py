"""Offline: fits an autoencoder on normal windows and exports the artifact that the daemon serves."""
