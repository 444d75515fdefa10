"""
The benchmark: Tidegate against the hub that a team writes by hand, and against the limit of the machine.

`python -m tests.bench` measures the rows of the speed table, each as a ratio to a baseline that was measured
in the same run, alternating with it: machines switch between fast and slow phases, ratios do not.
"""
