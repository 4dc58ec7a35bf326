"""Fitting an autoencoder, and what else is learnt offline."""
