"""
Fuzzing: hostile inputs for everything that reads what others wrote.

`engine` makes the inputs, the modules called `…_targets` say what must hold for each, `make fuzz` runs them at length
and `test_fuzz.py` briefly. No package of the field is needed: what lines an input reaches decides whether it is worth
changing again.
"""
