"""Faults on purpose: what each must end in, trials at random moments, a table. See __main__.py."""
