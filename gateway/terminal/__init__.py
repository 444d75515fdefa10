"""What the command line prints: one module per command, for people on a terminal and for programs in a pipe."""
