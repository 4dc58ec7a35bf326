"""`telltale doctor`: what a topic or a file holds, and the configuration with which it can be watched."""
