"""All that a GPU is to be tried for, as one table: `python -m tests.gpu`; test_toy.py has it at toy size on a CPU.

Each file has one check: a function of a `Bench` (device, sizes, folder) that yields rows of the table.
"""
