"""
Fuzzing: hostile inputs for everything that reads what others wrote.

`engine` makes the inputs, the modules called `…_targets` say what must hold for each, `make fuzz` runs them at length
and `test_fuzz.py` briefly. No package of the field is needed: the lines that an input reaches decide whether it is worth
changing again.
"""
