"""What is published: alerts, and dead letters."""
