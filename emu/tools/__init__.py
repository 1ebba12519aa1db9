"""What stands on a machine: the terminal's front end, traces, the demonstration."""
