"""One run from config to result: the only place where config becomes objects.

assembly   a config's plain values -> objects
check      whether a config can run, before anything is loaded or made
run        trains, tests once and returns the objective
record     what a run writes down, before, after and in its summary
evaluation tests a finished run again, from its MLflow run alone
"""
