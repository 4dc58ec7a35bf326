"""One of each kind of thing that can be added, as somebody who adds one would write it: a file, and nothing else."""
