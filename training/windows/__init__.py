"""Which windows fit the model, which choose the threshold, and which test both."""
