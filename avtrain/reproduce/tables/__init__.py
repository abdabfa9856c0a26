"""The published tables 1 and 2: settings, steps, dry run, jobs, and the table beside the published one."""
